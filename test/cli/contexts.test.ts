/** Contexts that both command lines share, and the ways to an engine: unix, TCP with TLS, ssh. */

import { execFile, execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type FakeEngine, type FakeOptions, fakeEngine } from "./fake-engine.ts";

const SKEP = fileURLToPath(new URL("../../bin/skep", import.meta.url));
const DOCKERS = ["/usr/local/bin/docker", "/usr/bin/docker"].filter((path) => existsSync(path));

let home: string;
const engines: FakeEngine[] = [];

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "skep-contexts-"));
});

afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.close()));
  rmSync(home, { recursive: true, force: true });
});

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(program: string, args: readonly string[], env = {}, input = ""): Promise<Ran> {
  return new Promise((resolve) => {
    const child = execFile(
      program,
      args,
      { cwd: home, env: { PATH: `${home}/bin:${process.env["PATH"]}`, HOME: home, ...env } },
      (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
    child.stdin?.end(input);
  });
}

async function ok(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(program, args);
  if (code !== 0) throw new Error(`${program} ${args.join(" ")}: ${stderr}`);
  return stdout;
}

async function engine(name: string, options?: FakeOptions): Promise<FakeEngine> {
  const made = fakeEngine(name, options);
  engines.push(made);
  return made;
}

const names = (program: string, ...globals: string[]) =>
  ok(program, ...globals, "ps", "--format", "{{.Names}}");

/** An authority, and what it signed for 127.0.0.1 and for a client. */
function certificates() {
  const openssl = (line: string) =>
    execFileSync("openssl", line.split(" "), { cwd: home, stdio: "ignore" });
  const key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
  openssl(`req -x509 ${key} -keyout ca-key.pem -out ca.pem -subj /CN=authority -days 2`);
  writeFileSync(join(home, "server.ext"), "subjectAltName=IP:127.0.0.1");
  writeFileSync(join(home, "client.ext"), "extendedKeyUsage=clientAuth");
  for (const who of ["server", "client"]) {
    openssl(`req ${key} -keyout ${who}-key.pem -out ${who}.csr -subj /CN=${who}`);
    openssl(
      `x509 -req -in ${who}.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -out ${who}.pem -days 2 -extfile ${who}.ext`,
    );
  }
  const pem = (name: string) => readFileSync(join(home, name));
  return { ca: pem("ca.pem"), cert: pem("server.pem"), key: pem("server-key.pem") };
}

describe.each(DOCKERS)("beside %s", (docker) => {
  test("what one made, the other lists, uses, exports and removes", async () => {
    const socket = join(home, "e.sock");
    await (await engine("here")).listen(socket);
    for (const [maker, user] of [
      [SKEP, docker],
      [docker, SKEP],
    ] as const) {
      await ok(
        maker,
        "context",
        "create",
        "near",
        "--description=a b",
        `--docker=host=unix://${socket}`,
      );
      expect(await names(user, "--context", "near")).toBe("here\n");
      expect(
        await ok(
          user,
          "context",
          "ls",
          "--format",
          "{{.Name}} {{.Description}} {{.DockerEndpoint}}",
        ),
      ).toContain(`near a b unix://${socket}\n`);
      expect(await ok(maker, "context", "use", "near")).toBe("near\n");
      expect(await names(user)).toBe("here\n");
      const [mine, theirs] = [
        await ok(maker, "context", "inspect"),
        await ok(user, "context", "inspect"),
      ];
      expect(JSON.parse(mine)).toEqual(JSON.parse(theirs));
      await ok(maker, "context", "export", "near", "near.tar");
      await ok(user, "context", "import", "copy", "near.tar");
      expect(await names(maker, "-c", "copy")).toBe("here\n");
      await ok(user, "context", "update", "copy", "--docker=host=unix:///nowhere");
      expect((await run(maker, ["-c", "copy", "ps"])).stderr).toContain("unix:///nowhere");
      const inUse = await run(user, ["context", "rm", "near"]);
      expect([inUse.code, inUse.stderr]).toEqual([
        1,
        expect.stringContaining("is in use, set -f flag"),
      ]);
      await ok(user, "context", "rm", "-f", "near", "copy");
      expect(await ok(maker, "context", "ls", "-q")).toBe("default\n");
      rmSync(join(home, "near.tar"));
    }
  });

  test("TLS material goes with a context, and the engine is verified by it", async () => {
    const served = await engine("secure", { tls: { ...certificates(), requestCert: true } });
    const port = await served.listen(0);
    const host = `host=tcp://127.0.0.1:${port}`;
    const files = "ca=ca.pem,cert=client.pem,key=client-key.pem";
    await ok(SKEP, "context", "create", "ours", `--docker=${host},${files}`);
    await ok(docker, "context", "create", "theirs", `--docker=${host},${files}`);
    await ok(SKEP, "context", "create", "doubt", `--docker=${host},ca=client.pem`);
    await ok(
      SKEP,
      "context",
      "create",
      "trusting",
      `--docker=${host},skip-tls-verify=true,cert=client.pem,key=client-key.pem`,
    );
    for (const program of [SKEP, docker]) {
      expect(await names(program, "-c", "ours")).toBe("secure\n");
      expect(await names(program, "-c", "theirs")).toBe("secure\n");
      expect(await names(program, "-c", "trusting")).toBe("secure\n");
      expect((await run(program, ["-c", "doubt", "ps"])).code).toBe(1);
    }
    const flags = [
      "--tlsverify",
      "--tlscacert=ca.pem",
      "--tlscert=client.pem",
      "--tlskey=client-key.pem",
    ];
    expect(await names(SKEP, ...flags, "-H", `tcp://127.0.0.1:${port}`)).toBe("secure\n");
  });
});

describe("ssh", () => {
  /** An `ssh` that goes nowhere: it runs the command here, as a server's shell would. */
  function fakeSsh() {
    mkdirSync(join(home, "bin"));
    const script = `#!/bin/sh
echo "$@" >>${home}/ssh.log
while [ "$1" != -- ]; do shift; done
case $2 in
  unknown) echo "ssh: Could not resolve hostname unknown" >&2; exit 255;;
esac
shift 2
exec sh -c "$*"
`;
    writeFileSync(join(home, "bin/ssh"), script);
    chmodSync(join(home, "bin/ssh"), 0o755);
    symlinkSync(SKEP, join(home, "bin/skep"));
  }

  test("ps, a streamed exec with half-close, and its exit code", async () => {
    fakeSsh();
    const socket = join(home, "e.sock");
    await (await engine("far")).listen(socket);
    const host = `ssh://ann@far:2222${socket}`;
    expect(await names(SKEP, "-H", host)).toBe("far\n");
    expect(readFileSync(join(home, "ssh.log"), "utf8")).toContain("-l ann -p 2222 -- far");
    const words = ["-H", host, "exec", "-i", "far", "cat"];
    expect(await run(SKEP, words, {}, "x".repeat(300_000))).toEqual({
      code: 7,
      stdout: "x".repeat(300_000),
      stderr: "",
    });
    await ok(SKEP, "context", "create", "far", `--docker=host=${host}`);
    expect(await names(SKEP, "-c", "far")).toBe("far\n");
  });

  test.skipIf(DOCKERS.length === 0)(
    "docker reaches an engine through our end of the connection",
    async () => {
      fakeSsh();
      const socket = join(home, "e.sock");
      await (await engine("far")).listen(socket);
      symlinkSync(SKEP, join(home, "bin/docker"));
      const [docker = ""] = DOCKERS;
      const env = { DOCKER_HOST: `ssh://far`, SKEP_HOST: `unix://${socket}` };
      expect((await run(docker, ["ps", "-q", "--no-trunc"], env)).stdout).toBe(
        `${"1".repeat(64)}\n`,
      );
    },
  );

  test("what ssh says is told", async () => {
    fakeSsh();
    const { code, stderr } = await run(SKEP, ["-H", "ssh://unknown", "ps"]);
    expect([code, stderr]).toEqual([1, expect.stringContaining("has exited with exit status 255")]);
    expect(stderr).toContain("Could not resolve hostname unknown");
  });
});

test("an older engine is asked in its own version, once it has told it", async () => {
  const old = await engine("old", { maxVersion: "1.41" });
  const socket = join(home, "e.sock");
  await old.listen(socket);
  expect(await names(SKEP, "-H", `unix://${socket}`)).toBe("old\n");
  const words = ["-H", `unix://${socket}`, "exec", "-i", "old", "cat"];
  expect((await run(SKEP, words, {}, "typed")).stdout).toBe("typed");
  expect(old.asked.filter((line) => line.includes("v1.51"))).toHaveLength(2);
  const fixed = await run(SKEP, ["-H", `unix://${socket}`, "ps"], { DOCKER_API_VERSION: "1.45" });
  expect(fixed.stderr).toContain("client version 1.45 is too new");
});
