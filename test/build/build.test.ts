/** Images are built: docker's classic builder, by its own client, on buildah. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { send } from "../compatibility/call.ts";
import { DOCKERS } from "../engine/engine-process.ts";
import { makeTar } from "../images/fixtures.ts";
import { BASE, BuildHost } from "./build-host.ts";

const PATIENCE = { timeout: 60_000, interval: 100 };

let host: BuildHost;

beforeAll(async () => {
  host = await BuildHost.open();
});

afterAll(async () => {
  await host?.close();
});

const show = async (image: string, ...command: string[]) =>
  (await host.docker(["run", "--rm", "--network", "none", image, ...command])).stdout;

test("a build has its arguments, labels, tags and its id, and runs; the next one is cached", async () => {
  const context = host.context({
    Dockerfile: [
      "ARG BASE=nothing:1",
      "FROM $BASE AS one",
      "ARG WHO=nobody",
      "RUN echo hello $WHO >/greeting; echo noise >&2",
      "FROM one",
      "COPY file /sub/",
      'CMD ["cat", "/greeting", "/sub/file"]',
    ].join("\n"),
    file: "data\n",
  });
  const idFile = join(context, "..", "id");
  const words = [
    "build",
    "-t",
    "my:1",
    "-t",
    "other/my:2",
    "--label",
    "a=b c",
    "--iidfile",
    idFile,
  ];
  const args = ["--build-arg", `BASE=${BASE}`, "--build-arg", "WHO=you"];
  const built = await host.docker([...words, ...args, context]);
  expect(built).toMatchObject({ code: 0 });
  expect(built.stdout).toContain("RUN echo hello $WHO");
  expect(built.stdout).toContain("noise\n");
  expect(built.stdout).toMatch(/Successfully built [0-9a-f]{12}\nSuccessfully tagged my:1\n/);
  expect(built.stdout).toContain("Successfully tagged other/my:2\n");
  const format = '{{.Id}} {{index .Config.Labels "a"}} {{index .Config.Labels "made"}}';
  const { stdout } = await host.docker(["inspect", "-f", format, "my:1", "other/my:2"]);
  const id = readFileSync(idFile, "utf8");
  expect(stdout).toBe(`${id} b c here\n${id} b c here\n`);
  expect(await show("my:1")).toBe("hello you\ndata\n");

  const again = await host.docker(["build", "-q", "--label", "a=b c", ...args, context]);
  expect(again).toMatchObject({ code: 0, stdout: `${id}\n` });
  const cached = await host.docker(["build", ...args, context]);
  expect(cached.stdout).toContain(" ---> Using cache\n");
  expect(cached.stdout).not.toContain("noise\n");
  const fresh = await host.docker(["build", "--no-cache", ...args, context]);
  expect(fresh.stdout).toContain("noise\n");
});

test("limits, and a Dockerfile from stdin beside a folder, as both docker clients send them", async () => {
  const context = host.context({ file: "data\n" });
  const limits = "-m 64m --cpu-period 100000 --cpu-quota 50000 -c 512 --shm-size 32m";
  const flags = [...limits.split(" "), "--ulimit", "nofile=77:77", "--security-opt"];
  const input = `FROM ${BASE}\nCOPY file /\nRUN cat /file; ulimit -n; busybox df -k /dev/shm`;
  for (const docker of DOCKERS) {
    const words = ["build", "--no-cache", ...flags, "seccomp=unconfined", "-f", "-", context];
    const built = await host.run(docker, words, { input });
    expect(built, docker).toMatchObject({ code: 0 });
    expect(built.stdout, docker).toMatch(/data\n77\n[^]*shm +32768 /);
  }
});

test("what was built here is a base, by name, by id and to copy from; a new one is noticed", async () => {
  const build = (tag: string, dockerfile: string) =>
    host.docker(["build", "-q", "-t", tag, "-"], { input: dockerfile });
  const first = await build("lib:1", `FROM ${BASE}\nRUN echo one >/what`);
  expect(first).toMatchObject({ code: 0 });
  const dockerfile = "FROM lib:1\nRUN cp /what /copy";
  expect(await build("user:1", dockerfile)).toMatchObject({ code: 0 });
  expect(await show("user:1", "cat", "/copy")).toBe("one\n");
  expect(await build("lib:1", `FROM ${BASE}\nRUN echo two >/what`)).toMatchObject({ code: 0 });
  expect(await build("user:1", dockerfile)).toMatchObject({ code: 0 });
  expect(await show("user:1", "cat", "/copy")).toBe("two\n");

  const id = first.stdout.trim().replace("sha256:", "");
  for (const name of [id.slice(0, 12), `sha256:${id}`]) {
    const copies = `FROM ${name}\nCOPY --from=lib:1 /what /theirs`;
    expect(await build("both:1", copies)).toMatchObject({ code: 0 });
    expect(await show("both:1", "cat", "/what", "/theirs")).toBe("one\ntwo\n");
  }
  // A container of a committed image is made of the store's layers, not of copies.
  const layers = async (image: string) =>
    JSON.parse((await host.docker(["inspect", "-f", "{{json .RootFS.Layers}}", image])).stdout);
  const base = await layers(BASE);
  expect((await layers("both:1")).slice(0, base.length)).toEqual(base);
});

test("a command that fails gives its exit code, and leaves no image; so does what is missing", async () => {
  const failing = await host.docker(["build", "-t", "no:1", "-"], {
    input: `FROM ${BASE}\nRUN echo before; exit 7`,
  });
  expect(failing.code).toBe(7);
  expect(failing.stdout).toContain("before\n");
  expect(failing.stderr).toContain(
    "The command '/bin/sh -c echo before; exit 7' returned a non-zero code: 7",
  );
  expect((await host.docker(["images", "-q", "no"])).stdout).toBe("");
  const context = host.context({ Dockerfile: "FROM scratch\n", x: "" });
  const post = (query: string, raw: Buffer) =>
    send(host.engine.socket, { method: "POST", path: `/build?${query}`, raw });
  const archive = await makeTar([{ name: "x", content: "" }]);
  const refused = async (query: string) => (await post(query, archive)).body.toString();
  expect(await refused("")).toContain("Cannot locate specified Dockerfile: Dockerfile");
  expect(await refused("dockerfile=x")).toContain("the Dockerfile (x) cannot be empty");
  expect(await refused("dockerfile=../../etc/passwd")).toContain("forbidden path outside");
  expect(await refused("t=Bad")).toContain("must be lowercase");
  expect(await refused("version=2")).toContain("DOCKER_BUILDKIT=0");
  // The builder still has it from an earlier build; the store has not.
  expect(
    await host.docker(["build", "-q", "-t", "gone:1", "-"], { input: `FROM ${BASE}` }),
  ).toMatchObject({ code: 0 });
  const from = { input: "FROM gone:1\nRUN true" };
  expect(await host.docker(["build", "-q", "-"], from)).toMatchObject({ code: 0 });
  await host.docker(["rmi", "gone:1"]);
  const lost = await host.docker(["build", "-q", "-"], from);
  expect(lost.code).toBe(1);
  expect(lost.stderr).toMatch(/registry-1\.docker\.io|gone/);
  const target = await host.docker(["build", "--target", "nope", context]);
  expect(target.code).toBe(1);
  expect(host.leftFolders()).toEqual([]);
});

test("a packed context, a Dockerfile of another name, and one that a URL gives", async () => {
  const archive = await makeTar([
    { name: "sub/My.file", content: `FROM ${BASE}\nCOPY . /all\nRUN ls /all` },
    { name: ".dockerignore", content: "secret\n" },
    { name: "secret", content: "s" },
    { name: "open", content: "o" },
  ]);
  const answer = await send(host.engine.socket, {
    method: "POST",
    path: "/build?dockerfile=sub/My.file&t=packed:1",
    raw: gzipSync(archive),
  });
  expect(answer.body.toString()).toContain("Successfully tagged packed:1");
  const files = await show("packed:1", "ls", "/all");
  expect(files).toContain("open\n");
  expect(files).not.toContain("secret");
  const url = `http://127.0.0.1:1/nothing.tar`;
  const missing = await host.docker(["build", url]);
  expect(missing.code).toBe(1);
});

test("commands have a network of the engine's, its names, and the hosts that were added", async () => {
  await host.docker(["network", "create", "lan"]);
  const server = ["run", "-d", "--name", "web", "--network", "lan", BASE, "sleep", "1000"];
  expect(await host.docker(server)).toMatchObject({ code: 0 });
  const ip = "{{.NetworkSettings.Networks.lan.IPAddress}}";
  const address = (await host.docker(["inspect", "-f", ip, "web"])).stdout.trim();
  const words = ["build", "--no-cache", "--network", "lan", "--add-host", "added:192.0.2.7", "-"];
  const input = `FROM ${BASE}\nRUN busybox nslookup web; busybox ping -c 1 web; cat /etc/hosts`;
  const built = await host.docker(words, { input });
  expect(built).toMatchObject({ code: 0 });
  expect(built.stdout).toContain(`PING web (${address})`);
  expect(built.stdout).toMatch(/192\.0\.2\.7\s+added/);
  const none = await host.docker(["build", "--network", "none", "--no-cache", "-"], {
    input: `FROM ${BASE}\nRUN busybox ip route; busybox ls /sys/class/net`,
  });
  expect(none.stdout).toContain("\nlo\n");
  expect(none.stdout).not.toContain("eth0");
  const attached = ["network", "inspect", "-f", "{{len .Containers}}", "lan"];
  expect((await host.docker(attached)).stdout).toBe("1\n");
  await host.docker(["rm", "-f", "web"]);
});

test("a client that goes away ends its build, and nothing of it stays", async () => {
  const gone = new AbortController();
  const input = `FROM ${BASE}\nRUN echo begun; sleep 987654`;
  const building = host.docker(["build", "--no-cache", "-"], { input, signal: gone.signal });
  await expect.poll(() => host.processes(/sleep 987654/), PATIENCE).not.toEqual([]);
  const pruned = await host.docker(["builder", "prune", "-f"]);
  expect(pruned.stderr).toContain("the build cache is in use by 1 running build(s)");
  gone.abort();
  await building;
  await expect.poll(() => host.processes(/sleep 987654|buildah|skep-build/), PATIENCE).toEqual([]);
  await expect.poll(() => host.leftFolders(), PATIENCE).toEqual([]);
  const next = await host.docker(["build", "-q", "-"], { input: `FROM ${BASE}\nRUN true` });
  expect(next).toMatchObject({ code: 0 });
});

test("an engine that dies takes its builds along; the next one cleans up and builds", async () => {
  const input = `FROM ${BASE}\nRUN echo begun; sleep 987654`;
  const building = host.docker(["build", "--no-cache", "-"], { input });
  await expect.poll(() => host.processes(/sleep 987654/), PATIENCE).not.toEqual([]);
  await host.engine.crash();
  await building;
  await expect.poll(() => host.processes(/sleep 987654|buildah|skep-build/), PATIENCE).toEqual([]);
  await host.engine.start();
  expect(host.leftFolders()).toEqual([]);
  const next = await host.docker(["build", "-q", "-"], { input: `FROM ${BASE}\nRUN true` });
  expect(next).toMatchObject({ code: 0 });
});

test("the cache is counted, and pruned; images stay", async () => {
  const df = ["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Size}}"];
  expect((await host.docker(df)).stdout).toMatch(/Build Cache [1-9]\d* [1-9]/);
  const pruned = await host.docker(["builder", "prune", "-f"]);
  expect(pruned.code).toBe(0);
  expect(pruned.stdout).toMatch(/Total(?: reclaimed space)?:\s+[1-9]/);
  expect((await host.docker(df)).stdout).toContain("Build Cache 0 0B");
  expect(await show("my:1")).toBe("hello you\ndata\n");
  const id = (await host.docker(["images", "-q", "--no-trunc", "my:1"])).stdout.trim();
  for (const name of ["my:1", id, id.slice("sha256:".length, 20)]) {
    const again = await host.docker(["build", "-q", "-"], { input: `FROM ${name}\nRUN true` });
    expect(again).toMatchObject({ code: 0 });
    await host.docker(["builder", "prune", "-f"]);
  }
});

test("skep build: what is ignored is not sent, a Dockerfile from elsewhere, exit codes and ids", async () => {
  const context = host.context({
    "in/Dockerfile": `FROM ${BASE}\nARG A\nCOPY . /all\nRUN ls -R /all; echo $A`,
    "in/.dockerignore": "# not these\n**/*.log\nskip\n!skip/kept\n",
    "in/a.log": "",
    "in/skip/no": "",
    "in/skip/kept": "",
    "in/deep/er/b.log": "",
    "in/deep/er/file": "",
    "other.docker": `FROM ${BASE}\nRUN exit 5`,
  });
  const idFile = join(context, "id");
  const folder = join(context, "in");
  const words = ["build", "-t", "ours:1", "--iidfile", idFile, "--build-arg", "A", folder];
  const built = await host.skep(words, { env: { A: "from-the-environment" } });
  expect(built).toMatchObject({ code: 0, stderr: "" });
  expect(built.stdout).toContain("from-the-environment\n");
  const shown = await show("ours:1", "ls", "-R", "/all");
  for (const name of ["kept", "file", "Dockerfile", ".dockerignore"]) {
    expect(await show("ours:1", "ls", "-aR", "/all")).toContain(`${name}\n`);
  }
  for (const name of ["a.log", "b.log", "no"]) expect(shown).not.toContain(`\n${name}\n`);
  const id = (await host.skep(["images", "-q", "--no-trunc", "ours:1"])).stdout.trim();
  expect(readFileSync(idFile, "utf8")).toBe(id);
  const quiet = await host.skep(
    ["image", "build", "-q", "--build-arg", "A", "--compress", folder],
    {
      env: { A: "from-the-environment" },
    },
  );
  expect(quiet).toEqual({ code: 0, stdout: `${id}\n`, stderr: "" });

  const failed = await host.skep(["build", "-f", join(context, "other.docker"), folder]);
  expect(failed.code).toBe(5);
  expect(failed.stderr).toContain("returned a non-zero code: 5");
  const input = `FROM ${BASE}\nRUN echo by stdin`;
  expect((await host.skep(["build", "-"], { input })).stdout).toContain("by stdin\n");
  expect((await host.skep(["build", "-f", "-", folder], { input })).stdout).toContain("by stdin\n");
  const missing = await host.skep(["build", join(context, "nowhere")]);
  expect(missing.code).toBe(1);
  expect(missing.stderr).toContain("not found");
  expect((await host.skep(["builder", "prune", "-f"])).stdout).toMatch(/reclaimed space: [1-9]/);
});

test("a base image of a registry is pulled with the client's credentials", async () => {
  const registry = await host.startRegistry({ user: "u", password: "p" });
  const name = `${registry}/private/base:1`;
  const env = { DOCKER_CONFIG: host.context({}) };
  const docker = (args: readonly string[], input = "") => host.docker(args, { env, input });
  const login = ["login", "-u", "u", "-p", "p", registry];
  await expect.poll(async () => (await docker(login)).code, PATIENCE).toBe(0);
  await host.docker(["tag", BASE, name]);
  expect(await docker(["push", "-q", name])).toMatchObject({ code: 0 });
  await host.docker(["rmi", name]);
  const input = `ARG R=${registry}\nFROM \${R}/private/base:1\nRUN echo made here`;
  const without = await host.docker(["build", "-"], { input });
  expect(without.code).toBe(1);
  expect(without.stderr).toMatch(/pull access denied|no basic auth|unauthorized/);
  const built = await docker(["build", "-"], input);
  expect(built).toMatchObject({ code: 0 });
  expect(built.stdout).toContain("made here\n");
  expect((await host.docker(["images", "-q", name])).stdout).toMatch(/^[0-9a-f]{12}\n$/);
});

test("host-gateway is the network's gateway, and the default one's without a network", async () => {
  const hosts = ["--add-host", "out:host-gateway"];
  const bridge = ["network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge"];
  const gateway = (await host.docker(bridge)).stdout.trim();
  const input = `FROM ${BASE}\nRUN cat /etc/hosts`;
  const built = await host.docker(["build", "--no-cache", ...hosts, "-"], { input });
  expect(built.stdout).toContain(`${gateway}\tout\n`);
  const run = ["run", "--rm", "--network", "none", ...hosts, BASE, "cat", "/etc/hosts"];
  expect((await host.docker(run)).stdout).toContain(`${gateway}\tout\n`);
});
