/** Credentials that both command lines share: in the configuration file, and with helper programs. */

import { execFile } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type FakeEngine, fakeEngine } from "./fake-engine.ts";

const SKEP = fileURLToPath(new URL("../../bin/skep", import.meta.url));
const DOCKERS = ["/usr/local/bin/docker", "/usr/bin/docker"].filter((path) => existsSync(path));
const PROGRAMS = [SKEP, ...DOCKERS];

const SERVER = "registry.example:5000";
const ANN = { username: "ann", password: "s3:cret" };

let home: string;
let engine: FakeEngine;

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), "skep-credentials-"));
  engine = fakeEngine("e");
  await engine.listen(join(home, "e.sock"));
  mkdirSync(join(home, "bin"));
  mkdirSync(join(home, ".docker"));
});

afterEach(async () => {
  await engine.close();
  rmSync(home, { recursive: true, force: true });
});

/** A helper that keeps what it is given in files of its own, one for each server. */
function helper(name: string): (server: string) => unknown {
  const kept = join(home, `kept-by-${name}`);
  mkdirSync(kept);
  const path = join(home, `bin/docker-credential-${name}`);
  const script = `#!/bin/sh
input=$(cat)
case $1 in
  store) server=$(printf %s "$input" | sed 's/.*"ServerURL":"\\([^"]*\\)".*/\\1/');;
  *) server=$input;;
esac
file=${kept}/$(printf %s "$server" | tr /: __)
case $1 in
  store) printf %s "$input" >"$file";;
  get) cat "$file" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; };;
  erase) rm -f "$file";;
  list) echo '{"listed.example":"ann"}';;
esac
`;
  writeFileSync(path, script);
  chmodSync(path, 0o755);
  return (server) => {
    const file = join(kept, server.replaceAll(/[/:]/g, "_"));
    return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : undefined;
  };
}

const configure = (config: unknown) =>
  writeFileSync(join(home, ".docker/config.json"), JSON.stringify(config));
const configured = () => JSON.parse(readFileSync(join(home, ".docker/config.json"), "utf8"));

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(program: string, args: readonly string[], input = ""): Promise<Ran> {
  const env = {
    PATH: `${home}/bin:${process.env["PATH"]}`,
    HOME: home,
    DOCKER_HOST: `unix://${home}/e.sock`,
  };
  return new Promise((resolve) => {
    const child = execFile(program, args, { cwd: home, env }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
    child.stdin?.end(input);
  });
}

async function ok(program: string, args: readonly string[], input = ""): Promise<Ran> {
  const ran = await run(program, args, input);
  if (ran.code !== 0) throw new Error(`${program} ${args.join(" ")}: ${ran.stderr}`);
  return ran;
}

const login = (program: string) =>
  ok(program, ["login", "-u", ANN.username, "--password-stdin", SERVER], ANN.password);

/** What a pull shows the engine. */
async function pulledWith(program: string): Promise<unknown> {
  await ok(program, ["pull", "-q", `${SERVER}/app:1`]);
  return engine.credentials();
}

test.each(PROGRAMS)(
  "what %s keeps with the helper of all registries, the others use",
  async (program) => {
    const keptFor = helper("safe");
    configure({
      credsStore: "safe",
      HttpHeaders: { Kept: "1" },
      auths: { [SERVER]: { auth: "b2xkOm9sZA==" } },
    });
    const { stderr } = await login(program);
    expect(engine.credentials()).toMatchObject({ ...ANN, serveraddress: SERVER });
    expect(stderr).not.toContain("unencrypted");
    expect(keptFor(SERVER)).toEqual({ ServerURL: SERVER, Username: "ann", Secret: ANN.password });
    expect(configured()).toMatchObject({
      credsStore: "safe",
      HttpHeaders: { Kept: "1" },
      auths: { [SERVER]: {} },
    });
    for (const user of PROGRAMS) {
      expect(await pulledWith(user), user).toMatchObject({ ...ANN, serveraddress: SERVER });
    }
    const again = await ok(program, ["login", SERVER]);
    expect(again.stderr + again.stdout).toContain("Authenticating with existing credentials");
    await ok(program, ["logout", SERVER]);
    expect([keptFor(SERVER), configured().auths]).toEqual([
      undefined,
      expect.not.objectContaining({ [SERVER]: {} }),
    ]);
    expect(await pulledWith(SKEP)).toBeUndefined();
  },
);

test("a registry of its own helper is not the others' affair", async () => {
  const [one, all] = [helper("one"), helper("all")];
  configure({ credsStore: "all", credHelpers: { [SERVER]: "one" } });
  await login(SKEP);
  await ok(SKEP, ["login", "-u", "hub", "--password-stdin"], "token");
  const hub = "https://index.docker.io/v1/";
  expect([one(SERVER), all(SERVER), one(hub)]).toEqual([expect.anything(), undefined, undefined]);
  expect(all(hub)).toEqual({ ServerURL: hub, Username: "hub", Secret: "token" });
  await ok(SKEP, ["pull", "-q", "busybox"]);
  expect(engine.credentials()).toEqual({ username: "hub", password: "token", serveraddress: hub });
  const offered = await ok(SKEP, ["__complete", "logout", ""]);
  for (const name of [SERVER, hub, "listed.example"]) expect(offered.stdout).toContain(name);
});

test("without a helper they are in the file, which says so; old names of a registry are found", async () => {
  expect((await login(SKEP)).stderr).toContain("stored unencrypted");
  for (const user of PROGRAMS) expect(await pulledWith(user), user).toMatchObject(ANN);
  configure({ auths: { [`https://${SERVER}/v1/`]: configured().auths[SERVER] } });
  expect(await pulledWith(SKEP)).toMatchObject(ANN);
  await ok(SKEP, ["logout", SERVER]);
  expect(configured()).toEqual({ auths: {} });
});

test("a token that a login gave is kept as docker keeps one", async () => {
  const keptFor = helper("safe");
  configure({ credsStore: "safe" });
  await engine.close();
  engine = fakeEngine("e", { identityToken: "t" });
  await engine.listen(join(home, "e.sock"));
  for (const program of PROGRAMS) {
    await login(program);
    const kept = { ServerURL: SERVER, Username: "<token>", Secret: "t" };
    expect(keptFor(SERVER), program).toEqual(kept);
    expect(await pulledWith(program), program).toMatchObject({ identitytoken: "t" });
    await ok(program, ["logout", SERVER]);
  }
});

test("a token is shown as one", async () => {
  helper("safe");
  configure({ credsStore: "safe" });
  const stored = JSON.stringify({ ServerURL: SERVER, Username: "<token>", Secret: "t" });
  await ok("docker-credential-safe", ["store"], stored);
  expect(await pulledWith(SKEP)).toMatchObject({ username: "", identitytoken: "t" });
});

test("a helper that is not there is told; a pull goes on, a login does not", async () => {
  configure({ credsStore: "gone" });
  const why = "docker-credential-gone: executable file not found in $PATH";
  const pull = await ok(SKEP, ["pull", "-q", `${SERVER}/app:1`]);
  expect([pull.stderr, engine.credentials()]).toEqual([expect.stringContaining(why), undefined]);
  const args = ["login", "-u", "ann", "--password-stdin", SERVER];
  expect(await run(SKEP, args, "p")).toMatchObject({
    code: 1,
    stderr: expect.stringContaining(why),
  });
});
