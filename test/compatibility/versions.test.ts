/** What each version of the Engine API tells its clients, and what only newer ones can ask for. */

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FrameDecoder } from "#api/stdcopy.ts";
import { PLAIN_ENV } from "../../bench/lib/host.ts";
import { SkepEngine } from "../../bench/lib/skep.ts";
import { type Call, send } from "./call.ts";
import { imageArchive, loadImage } from "./engines.ts";
import { IMAGE } from "./requests.ts";

type Json = Record<string, unknown>;

let engine: SkepEngine;

beforeAll(async () => {
  engine = new SkepEngine();
  await engine.start();
  await loadImage(engine);
}, 60_000);

afterAll(() => engine?.host.destroy());

/** The answer of one version; anything but a success fails the test. */
async function ask<T = Json>(method: string, version: string, path: string, body?: unknown) {
  const call = { method, path: `/v${version}${path}`, ...(body === undefined ? {} : { body }) };
  const { status, body: answer } = await send(engine.socket, call);
  expect([call, status, answer.toString()]).toEqual([
    call,
    status < 300 ? status : "a success",
    answer.toString(),
  ]);
  return (answer.length === 0 ? undefined : JSON.parse(answer.toString())) as T;
}

async function refusal(call: Call): Promise<readonly [number, string]> {
  const { status, body } = await send(engine.socket, call);
  return [status, (JSON.parse(body.toString()) as { readonly message: string }).message];
}

const ALL = ["1.24", "1.41", "1.47", "1.48", "1.49", "1.50", "1.51"];

/** Those of the versions whose answer has the field. */
async function versionsWith(path: string, field: (answer: Json) => unknown) {
  const found: string[] = [];
  for (const version of ALL) {
    if (field(await ask("GET", version, path)) !== undefined) found.push(version);
  }
  return found;
}

describe("fields come and go with the version", () => {
  test.each<[string, (info: Json) => unknown, readonly string[]]>([
    ["BridgeNfIptables", (info) => info["BridgeNfIptables"], ALL.slice(0, 5)],
    ["FirewallBackend", (info) => info["FirewallBackend"], ALL.slice(4)],
    ["Containerd", (info) => info["Containerd"], ALL.slice(2)],
    ["CDISpecDirs", (info) => info["CDISpecDirs"], ALL.slice(2)],
    ["RuncCommit.Expected", (info) => (info["RuncCommit"] as Json)["Expected"], ALL.slice(0, 4)],
    [
      "RegistryConfig.AllowNondistributableArtifactsCIDRs",
      (info) => (info["RegistryConfig"] as Json)["AllowNondistributableArtifactsCIDRs"],
      ALL.slice(0, 4),
    ],
  ])("/info %s", async (_name, field, versions) => {
    expect(await versionsWith("/info", field)).toEqual(versions);
  });

  test("what is a container's is not in an image's Config since 1.50", async () => {
    const field = (name: string) => (image: Json) => (image["Config"] as Json)[name];
    const path = `/images/${IMAGE}/json`;
    expect(await versionsWith(path, field("Hostname"))).toEqual(ALL.slice(0, 5));
    expect(await versionsWith(path, field("Cmd"))).toEqual(ALL);
  });

  test("a list tells annotations since 1.46", async () => {
    const HostConfig = { Annotations: { a: "b" } };
    await ask("POST", "1.51", "/containers/create?name=noted", { Image: IMAGE, HostConfig });
    const found = await versionsWith("/containers/json?all=1", (list) => {
      const [row] = list as unknown as [Json];
      return (row["HostConfig"] as Json)["Annotations"];
    });
    expect(found).toEqual(ALL.slice(2));
    await ask("DELETE", "1.51", "/containers/noted");
  });

  test("an endpoint's priority is told since 1.48, an image's containers since 1.51", async () => {
    const { Id } = await ask("POST", "1.51", "/containers/create?name=fields", { Image: IMAGE });
    const endpoint = (shown: Json) =>
      ((shown["NetworkSettings"] as Json)["Networks"] as Record<string, Json>)["bridge"];
    const priority = (shown: Json) => endpoint(shown)?.["GwPriority"];
    expect(await versionsWith(`/containers/${String(Id)}/json`, priority)).toEqual(ALL.slice(3));
    expect(
      await versionsWith("/containers/json?all=1", (list) =>
        priority((list as unknown as [Json])[0]),
      ),
    ).toEqual(ALL.slice(3));
    const count = async (version: string) =>
      (await ask<readonly Json[]>("GET", version, "/images/json")).map(
        ({ Containers }) => Containers,
      );
    expect(await count("1.50")).toEqual([-1]);
    expect(await count("1.51")).toEqual([1]);
    await ask("DELETE", "1.51", "/containers/fields");
  });
});

describe("a platform that is not there is refused", () => {
  const query = (name: string, os = "linux", architecture = "s390x") =>
    `${name}=${encodeURIComponent(JSON.stringify({ os, architecture }))}`;
  const own = { x64: "amd64", arm64: "arm64" }[process.arch as string] ?? process.arch;

  test.each<[string, string, string]>([
    ["GET", "1.49", `/images/${IMAGE}/json?${query("platform")}`],
    ["GET", "1.48", `/images/${IMAGE}/history?${query("platform")}`],
    ["GET", "1.48", `/images/${IMAGE}/get?${query("platform")}`],
    ["GET", "1.48", `/images/get?names=${IMAGE}&${query("platform")}`],
    ["DELETE", "1.50", `/images/${IMAGE}?${query("platforms")}`],
  ])("%s v%s%s", async (method, version, path) => {
    expect(await refusal({ method, path: `/v${version}${path}` })).toEqual([
      404,
      `image with reference ${IMAGE} was found but does not provide the specified platform (linux/s390x)`,
    ]);
  });

  test("and the one that is there is not; older versions do not look at it", async () => {
    await ask("GET", "1.49", `/images/${IMAGE}/json?${query("platform", "linux", own)}`);
    await ask("GET", "1.48", `/images/${IMAGE}/json?${query("platform")}`);
    await ask("GET", "1.47", `/images/${IMAGE}/history?${query("platform")}`);
  });

  test("malformed, incomplete, contradictory and several", async () => {
    const inspect = (more: string) =>
      refusal({ method: "GET", path: `/v1.49/images/${IMAGE}/json?${more}` });
    expect((await inspect("platform=linux"))[1]).toMatch(/^failed to parse platform: /);
    expect(await inspect("platform=null")).toEqual([
      400,
      "both OS and Architecture must be provided",
    ]);
    expect(await inspect(query("platform", "linux", ""))).toEqual([
      400,
      "both OS and Architecture must be provided",
    ]);
    expect(await inspect(`manifests=1&${query("platform")}`)).toEqual([
      400,
      "conflicting options: manifests and platform options cannot both be set",
    ]);
    const several = `${query("platforms")}&${query("platforms")}`;
    expect(await refusal({ method: "DELETE", path: `/v1.50/images/${IMAGE}?${several}` })).toEqual([
      400,
      "multiple platforms are not supported",
    ]);
  });

  test("of an archive, what is for another platform is not loaded", async () => {
    const path = `/v1.48/images/load?quiet=1&${query("platform")}`;
    const { body } = await send(engine.socket, { method: "POST", path, raw: await imageArchive() });
    expect(body.toString()).toContain("does not provide the specified platform (linux/s390x)");
  });
});

describe("an image as a mount", () => {
  const mount = (more: Json = {}) => ({ Type: "image", Source: IMAGE, Target: "/i", ...more });
  const create = (name: string, command: string, mounts: readonly Json[]) =>
    ask("POST", "1.48", `/containers/create?name=${name}`, {
      Image: IMAGE,
      Cmd: ["sh", "-c", command],
      HostConfig: { NetworkMode: "none", Mounts: mounts, Init: true },
    });
  const output = async (name: string) => {
    await ask("POST", "1.48", `/containers/${name}/start`);
    const waited = await ask("POST", "1.48", `/containers/${name}/wait`);
    const { body } = await send(engine.socket, {
      method: "GET",
      path: `/v1.48/containers/${name}/logs?stdout=1&stderr=1`,
    });
    const text = new FrameDecoder()
      .push(body)
      .map(({ payload }) => Buffer.from(payload).toString());
    return [waited["StatusCode"], text.join("")];
  };
  const remove = (name: string) => ask("DELETE", "1.48", `/containers/${name}?force=1`);

  test("its files are there, may be changed, and are the container's own", async () => {
    const command = "cat /i/data/seed; echo mine >>/i/data/seed; ls /i/data/more 2>/dev/null";
    await create("first", `${command}; echo >/i/data/more; true`, [mount()]);
    expect(await output("first")).toEqual([0, "from the image\n"]);
    await create("second", "cat /i/data/seed", [mount()]);
    expect(await output("second")).toEqual([0, "from the image\n"]);
    // What it wrote stays, as in its own file system.
    await create("third", "echo x >>/i/data/seed; cat /i/data/seed", [mount()]);
    expect(await output("third")).toEqual([0, "from the image\nx\n"]);
    await ask("POST", "1.48", "/containers/third/start");
    await ask("POST", "1.48", "/containers/third/wait");
    const file = await send(engine.socket, {
      method: "GET",
      path: "/v1.48/containers/third/archive?path=/i/data/seed",
    });
    expect(file.body.toString()).toContain("from the image\nx\nx\n");
    for (const name of ["first", "second", "third"]) await remove(name);
  });

  test("read-only, and a folder of it", async () => {
    const [touch, look] = ["touch /i/x 2>/dev/null || echo refused", "ls /i"];
    await create("ro", touch, [mount({ ReadOnly: true })]);
    expect(await output("ro")).toEqual([0, "refused\n"]);
    await create("part", look, [mount({ ImageOptions: { Subpath: "data" } })]);
    expect(await output("part")).toEqual([0, "seed\n"]);
    const shown = await ask("GET", "1.48", "/containers/ro/json");
    expect(shown["Mounts"]).toMatchObject([{ Type: "image", Destination: "/i", RW: false }]);
    for (const name of ["ro", "part"]) await remove(name);
  });

  test("wrong ones are refused", async () => {
    const refused = (more: Json) =>
      refusal({
        method: "POST",
        path: "/v1.48/containers/create",
        body: { Image: IMAGE, HostConfig: { Mounts: [mount(more)] } },
      });
    expect(await refused({ Source: "" })).toEqual([
      400,
      'invalid mount config for type "image": field Source must not be empty',
    ]);
    expect((await refused({ BindOptions: {} }))[1]).toContain("BindOptions must not be specified");
    expect((await refused({ ImageOptions: { Subpath: "../x" } }))[1]).toContain("subpath");
    // Not 404: a client would pull the container's image and try again.
    expect(await refused({ Source: "nosuch:1" })).toEqual([400, "No such image: nosuch:1"]);
  });

  test("outlives the engine, and its container takes it along", async () => {
    await create("long", "echo written >/i/data/own; sleep 1000", [mount()]);
    await ask("POST", "1.48", "/containers/long/start");
    await engine.crash();
    await engine.start();
    await ask("POST", "1.48", "/containers/long/restart?t=0");
    const file = await send(engine.socket, {
      method: "GET",
      path: "/v1.48/containers/long/archive?path=/i/data/own",
    });
    expect(file.status).toBe(200);
    await remove("long");
    // Nothing holds the image's layers any more.
    await ask("POST", "1.48", `/images/${IMAGE}/tag?repo=kept&tag=1`);
    await engine.crash();
    await engine.start();
    const log = engine.host.logTail("skep.log");
    expect(log).not.toContain("belongs to no container");
  });
});

const NEWER = "/usr/local/bin/docker";

describe.skipIf(!existsSync(NEWER))("a newer docker command line, as it negotiates", () => {
  const docker = (...args: string[]) =>
    new Promise<string>((resolve) => {
      const env = {
        ...PLAIN_ENV,
        DOCKER_HOST: `unix://${engine.socket}`,
        DOCKER_CONFIG: join(engine.host.folder, "client"),
      };
      execFile(NEWER, args, { env, timeout: 30_000 }, (error, stdout, stderr) =>
        resolve(`${error === null ? "" : `${error.code}: `}${stdout}${stderr}`.trim()),
      );
    });

  test("uses its own version, and what that brings", async () => {
    const [client, server] = (
      await docker("version", "--format", "{{.Client.APIVersion}} {{.Server.APIVersion}}")
    ).split(" ");
    expect(server).toBe("1.51");
    expect(Number(client?.split(".")[1])).toBeGreaterThan(47);
    expect(await docker("info", "--format", "{{.OSType}} {{.ServerErrors}}")).toBe("linux []");
    const run = ["run", "--rm", "--network=none"];
    const from = `--mount=type=image,src=${IMAGE},dst=/i,image-subpath=data`;
    expect(await docker(...run, from, IMAGE, "cat", "/i/seed")).toBe("from the image");
    const other = ["--platform=linux/s390x", IMAGE];
    for (const command of ["inspect", "history", "save"]) {
      expect(await docker("image", command, ...other)).toContain("(linux/s390x)");
    }
    expect(await docker("image", "ls", "--tree")).toContain(IMAGE);
    expect(await docker("network", "create", "--ipv4=true", "prior")).toMatch(/^[0-9a-f]{64}$/);
    expect(await docker("create", "--name=both", "--network=prior", IMAGE)).toMatch(/^[0-9a-f]+$/);
    await docker("network", "connect", "--gw-priority=3", "bridge", "both");
    const format = "{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.GwPriority}} {{end}}";
    expect(await docker("inspect", "-f", format, "both")).toBe("bridge=3 prior=0");
    expect(await docker("network", "inspect", "-f", "{{.EnableIPv4}}", "prior")).toBe("true");
    expect(await docker("rm", "both")).toBe("both");
    expect(await docker("network", "rm", "prior")).toBe("prior");
  });
});
