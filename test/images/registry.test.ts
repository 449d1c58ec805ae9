import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type ImageStore, openImageStore } from "#engine/images/store.ts";
import type { ProgressMessage } from "#engine/ports.ts";
import { silentLog } from "#platform/log.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { type FaultyProxy, startProxy } from "./faulty-proxy.ts";
import {
  busyboxLayer,
  digestOf,
  dockerArchive,
  type ImageFixture,
  makeImage,
  makeTar,
  streamOf,
} from "./fixtures.ts";
import {
  freePort,
  startRegistry,
  startTokenServer,
  type TestRegistry,
  type TokenServer,
} from "./registry-server.ts";
import { makeScratch, type Scratch } from "./scratch.ts";

let scratch: Scratch;
let store: ImageStore;
let registry: TestRegistry;
let basic: TestRegistry;
let guarded: TestRegistry;
let tokens: TokenServer;
let image: ImageFixture;
let archive: Buffer;
const proxies: FaultyProxy[] = [];

const ACCOUNT = { username: "alice", password: "sesame" };

beforeAll(async () => {
  scratch = await makeScratch();
  const folder = (name: string) => join(scratch.folder, name);
  tokens = await startTokenServer(folder("tokens"), ACCOUNT.username, ACCOUNT.password);
  const { username: user, password } = ACCOUNT;
  [registry, basic, guarded] = await Promise.all([
    startRegistry(folder("registry"), { kind: "none" }),
    startRegistry(folder("basic"), { kind: "basic", user, password }),
    startRegistry(folder("guarded"), { kind: "token", tokens }),
  ]);
  store = await openImageStore({
    containerd: scratch.containerd,
    snapshotter: "overlayfs",
    registry: { insecure: [], mirrors: [], maxDownloads: 3, maxUploads: 5 },
    certFolders: [],
    userAgent: "skep-test",
    clock: realClock,
    random: realRandom,
    log: silentLog,
  });
  const noise = await makeTar([{ name: "noise", content: randomBytes(3_000_000) }]);
  image = makeImage([await busyboxLayer(), noise]);
  archive = await dockerArchive([{ image, tags: ["source:1"] }]);
});

afterAll(async () => {
  await Promise.allSettled([registry?.stop(), basic?.stop(), guarded?.stop(), tokens?.stop()]);
  await scratch?.remove();
});

afterEach(async () => {
  await Promise.all(proxies.splice(0).map((proxy) => proxy.stop()));
  await clear();
});

async function clear(): Promise<void> {
  await store.prune(new Map([["dangling", ["false"]]]));
}

async function proxyTo(host: string): Promise<FaultyProxy> {
  const proxy = await startProxy(host);
  proxies.push(proxy);
  return proxy;
}

async function push(repository: string, tag = "1", auth = {}): Promise<ProgressMessage[]> {
  await store.load(streamOf(archive), () => undefined);
  await store.tag("source:1", repository, tag);
  const messages: ProgressMessage[] = [];
  await store.push(repository, tag, { auth }, (message) => messages.push(message));
  return messages;
}

async function pull(reference: string, options = {}): Promise<ProgressMessage[]> {
  const messages: ProgressMessage[] = [];
  await store.pull(reference, options, (message) => messages.push(message));
  return messages;
}

function statuses(messages: readonly ProgressMessage[]): string[] {
  return messages.map(({ status, id }) => (id === undefined ? `${status}` : `${id}: ${status}`));
}

describe("push and pull", () => {
  test("pushed, forgotten and pulled again: the same id, with docker's messages", async () => {
    const name = `${registry.host}/team/app`;
    const pushed = await push(name);
    expect(pushed[0]).toEqual({ status: `The push refers to repository [${name}]` });
    const { aux } = pushed.at(-1) as { aux: { Tag: string; Digest: string; Size: number } };
    expect(pushed.at(-2)).toEqual({ status: `1: digest: ${aux.Digest} size: ${aux.Size}` });
    expect((await store.inspect(`${name}:1`)).RepoDigests).toEqual([`${name}@${aux.Digest}`]);
    const again = statuses(await push(name));
    expect(again.filter((line) => line.endsWith("Layer already exists")).length).toBe(2);
    await clear();
    const lines = statuses(await pull(`${name}:1`));
    expect(lines[0]).toBe("1: Pulling from team/app");
    expect(lines.filter((line) => line.endsWith(": Pulling fs layer")).length).toBe(2);
    expect(lines.filter((line) => line.endsWith(": Download complete")).length).toBe(2);
    expect(lines.filter((line) => line.endsWith(": Pull complete")).length).toBe(2);
    expect(lines.slice(-2)).toEqual([
      `Digest: ${aux.Digest}`,
      `Status: Downloaded newer image for ${name}:1`,
    ]);
    const shown = await store.inspect(`${name}:1`);
    expect(shown.Id).toBe(image.id);
    expect(shown.RepoDigests).toEqual([`${name}@${aux.Digest}`]);
    expect((await store.resolve(`${name}@${aux.Digest}`)).id).toBe(image.id);
    const second = statuses(await pull(`${name}:1`));
    expect(second.filter((line) => line.endsWith(": Already exists")).length).toBe(2);
    expect(second.at(-1)).toBe(`Status: Image is up to date for ${name}:1`);
  });

  test("a layer of another repository of the registry is mounted, not sent", async () => {
    const proxy = await proxyTo(registry.host);
    await push(`${proxy.host}/from`);
    const lines = statuses(await push(`${proxy.host}/to`));
    expect(lines.filter((line) => line.endsWith("Mounted from from")).length).toBe(2);
  });

  test("all tags of a repository; a tag that is not there", async () => {
    const name = `${registry.host}/many`;
    await store.load(streamOf(archive), () => undefined);
    for (const tag of ["a", "b"]) await store.tag("source:1", name, tag);
    const messages: ProgressMessage[] = [];
    await store.push(name, "", {}, (message) => messages.push(message));
    const tags = messages.flatMap(({ aux }) => (aux as { Tag: string } | undefined)?.Tag ?? []);
    expect(tags).toEqual(["a", "b"]);
    await expect(store.push(name, "c", {}, () => undefined)).rejects.toThrow(
      `An image does not exist locally with the tag: ${name}`,
    );
  });

  test("an index: the platform's image under the index's digest; others are refused", async () => {
    const name = `${registry.host}/multi`;
    const pushed = await push(name, "amd64");
    const { aux } = pushed.at(-1) as { aux: { Digest: string; Size: number } };
    const index = {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: [
        {
          mediaType: "application/vnd.docker.distribution.manifest.v2+json",
          digest: aux.Digest,
          size: aux.Size,
          platform: { os: "linux", architecture: process.arch === "x64" ? "amd64" : process.arch },
        },
      ],
    };
    const text = JSON.stringify(index);
    const put = await fetch(`http://${registry.host}/v2/multi/manifests/latest`, {
      method: "PUT",
      headers: { "Content-Type": index.mediaType },
      body: text,
    });
    expect(put.status).toBe(201);
    await clear();
    const lines = statuses(await pull(name));
    expect(lines.at(-2)).toBe(`Digest: ${digestOf(text)}`);
    expect((await store.inspect(name)).RepoDigests).toEqual([`${name}@${digestOf(text)}`]);
    expect((await store.resolve(`${name}:latest@${digestOf(text)}`)).id).toBe(image.id);
    await expect(pull(name, { platform: "linux/s390x" })).rejects.toThrow(
      "no matching manifest for linux/s390x in the manifest list entries",
    );
    expect(await store.distribution(name)).toMatchObject({
      Descriptor: { mediaType: index.mediaType, digest: digestOf(text), size: text.length },
      Platforms: [{ os: "linux" }],
    });
    expect((await store.distribution(`${name}:amd64`)).Platforms).toHaveLength(1);
  });

  test("a tag that moved: the old image loses the name but keeps its digest", async () => {
    const name = `${registry.host}/moving`;
    await push(name);
    const other = makeImage([await busyboxLayer()], { Cmd: ["other"] });
    const otherArchive = await dockerArchive([{ image: other, tags: [`${name}:1`] }]);
    await store.load(streamOf(otherArchive), () => undefined);
    await store.push(name, "1", {}, () => undefined);
    await clear();
    await push(name, "2");
    await store.tag(`${name}:2`, name, "1");
    const lines = statuses(await pull(`${name}:1`));
    expect(lines.at(-1)).toBe(`Status: Downloaded newer image for ${name}:1`);
    expect((await store.resolve(`${name}:1`)).id).toBe(other.id);
    expect((await store.resolve(`${name}:2`)).id).toBe(image.id);
  });
});

describe("what breaks", () => {
  test("a connection that breaks twice is taken up where it broke", async () => {
    const proxy = await proxyTo(registry.host);
    const name = `${proxy.host}/cut`;
    await push(name);
    await clear();
    proxy.seen.length = 0;
    proxy.cut = { bytes: 1_000_000, times: 2 };
    await pull(`${name}:1`);
    expect((await store.resolve(`${name}:1`)).id).toBe(image.id);
    const ranges = proxy.seen.flatMap((line) => /bytes=(\d+)-/.exec(line)?.[1] ?? []);
    expect(ranges.length).toBeGreaterThan(0);
    expect(ranges.every((from) => Number(from) > 0)).toBe(true);
  });

  test("a registry that sends other bytes than it promised is not believed", async () => {
    const proxy = await proxyTo(registry.host);
    const name = `${proxy.host}/lies`;
    await push(name);
    await clear();
    proxy.intercept = ({ method, url }, response) => {
      if (method !== "GET" || !(url ?? "").includes("/manifests/sha256")) return false;
      response.end('{"schemaVersion":2}');
      return true;
    };
    await expect(pull(`${name}@${digestOf("nothing")}`)).rejects.toThrow(
      /manifest verification failed for digest/,
    );
    proxy.intercept = ({ method, url }, response) => {
      if (method !== "GET" || !(url ?? "").includes("/blobs/")) return false;
      const answer = async () => {
        const genuine = await fetch(`http://${registry.host}${url ?? ""}`);
        const bytes = Buffer.from(await genuine.arrayBuffer());
        // The config passes, a layer is changed.
        if (bytes.length > 1000) bytes[500] = (bytes[500] ?? 0) ^ 1;
        response.end(bytes);
      };
      void answer();
      return true;
    };
    await expect(pull(`${name}:1`)).rejects.toThrow(
      /filesystem layer verification failed for digest sha256/,
    );
    proxy.intercept = ({ method, url }, response) => {
      if (method !== "GET" || !(url ?? "").includes("/blobs/")) return false;
      response.writeHead(200, { "Content-Length": "3" }).end("abc");
      return true;
    };
    await expect(pull(`${name}:1`)).rejects.toThrow(/has 3 bytes, the manifest says/);
    expect(await store.list({ filters: new Map() })).toEqual([]);
  });

  test("a redirect to another host goes without the password", async () => {
    const proxy = await proxyTo(basic.host);
    const storage = await proxyTo(basic.host);
    const name = `${proxy.host}/moved`;
    await push(name, "1", ACCOUNT);
    await clear();
    const leaked: (string | undefined)[] = [];
    storage.intercept = ({ headers }, response) => {
      leaked.push(headers.authorization);
      response.writeHead(404).end();
      return true;
    };
    proxy.intercept = ({ method, url }, response) => {
      if (method !== "GET" || !(url ?? "").includes("/blobs/")) return false;
      response.writeHead(307, { Location: `http://${storage.host}${url ?? ""}` }).end();
      return true;
    };
    await expect(pull(`${name}:1`, { auth: ACCOUNT })).rejects.toThrow(/404/);
    expect(leaked.length).toBeGreaterThan(0);
    expect(leaked.every((header) => header === undefined)).toBe(true);
  });

  test("docker's sentences for what is not there", async () => {
    const name = `${registry.host}/app`;
    await push(name);
    await expect(pull(`${name}:nope`)).rejects.toThrow(
      `manifest for ${name}:nope not found: manifest unknown: manifest unknown`,
    );
    const nobody = `127.0.0.1:${await freePort()}`;
    await expect(pull(`${nobody}/x`)).rejects.toThrow(
      `Get "http://${nobody}/v2/": dial tcp ${nobody}: connect: connection refused`,
    );
    await expect(pull("registry.invalid/x")).rejects.toThrow(
      /Get "https:\/\/registry.invalid\/v2\/": dial tcp: lookup registry.invalid/,
    );
  });

  test("a pull that is called off stops, and leaves nothing named", async () => {
    const proxy = await proxyTo(registry.host);
    const name = `${proxy.host}/stopped`;
    await push(name);
    await clear();
    const abort = new AbortController();
    proxy.intercept = ({ method, url }) => {
      if (method !== "GET" || !(url ?? "").includes("/blobs/")) return false;
      abort.abort();
      return true;
    };
    await expect(pull(`${name}:1`, { signal: abort.signal })).rejects.toThrow(/cancel|abort/);
    expect(await store.list({ filters: new Map() })).toEqual([]);
    const { leases } = await scratch.containerd.leases.list({});
    expect(leases).toEqual([]);
  });
});

describe("authorization", () => {
  test("basic: with the password, without, and with a wrong one", async () => {
    const name = `${basic.host}/private`;
    await push(name, "1", ACCOUNT);
    await clear();
    await expect(pull(`${name}:1`)).rejects.toThrow("no basic auth credentials");
    await expect(pull(`${name}:1`, { auth: { ...ACCOUNT, password: "wrong" } })).rejects.toThrow(
      /unauthorized/,
    );
    const auth = Buffer.from("alice:sesame").toString("base64");
    await pull(`${name}:1`, { auth: { auth } });
    expect((await store.resolve(`${name}:1`)).id).toBe(image.id);
  });

  test("login says whether the registry takes the password", async () => {
    const serveraddress = basic.host;
    expect(await store.login({ ...ACCOUNT, serveraddress })).toEqual({
      status: "Login Succeeded",
      token: "",
    });
    await expect(store.login({ ...ACCOUNT, password: "wrong", serveraddress })).rejects.toThrow(
      /unauthorized: incorrect username or password/,
    );
    await store.login({ ...ACCOUNT, serveraddress: `http://${guarded.host}` });
    await expect(
      store.login({ ...ACCOUNT, password: "wrong", serveraddress: guarded.host }),
    ).rejects.toThrow(/incorrect username or password/);
  });

  test("token: asked once for a repository, with the actions that are needed", async () => {
    const name = `${guarded.host}/secret`;
    await push(name, "1", ACCOUNT);
    await clear();
    tokens.asked.length = 0;
    await pull(`${name}:1`);
    expect(tokens.asked.map((query) => query.getAll("scope"))).toEqual([
      ["repository:secret:pull"],
    ]);
    expect(tokens.asked[0]?.get("service")).toBe("test-registry");
    await store.tag(`${name}:1`, name, "2");
    await expect(store.push(name, "2", {}, () => undefined)).rejects.toThrow(
      /unauthorized: authentication required|denied/,
    );
  });
});

describe("mirrors", () => {
  test("docker.io is pulled from the mirror; one that lacks the image is passed over", async () => {
    await push(`${registry.host}/library/mirrored`);
    await clear();
    const empty = await proxyTo(registry.host);
    empty.intercept = (_request, response) => {
      response.writeHead(404).end();
      return true;
    };
    const mirrored = await openImageStore({
      containerd: scratch.containerd,
      snapshotter: "overlayfs",
      registry: {
        insecure: [],
        mirrors: [`http://${empty.host}`, `http://${registry.host}`],
        maxDownloads: 3,
        maxUploads: 5,
      },
      certFolders: [],
      userAgent: "skep-test",
      clock: realClock,
      random: realRandom,
      log: silentLog,
    });
    await mirrored.pull("mirrored:1", {}, () => undefined);
    expect((await mirrored.inspect("mirrored:1")).RepoTags).toEqual(["mirrored:1"]);
  });
});
