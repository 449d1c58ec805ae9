/** Mutual TLS of the RPC server: who is seen, who is not, and what a change of certificates does. */

import type { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect, type Socket } from "node:net";
import { connect as connectTls, createServer as createTlsServer } from "node:tls";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { leafProfile, rootValidity } from "#pki/profile.ts";
import { Health } from "#wire/gen/swarmkit/health_pb.js";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { type Deferred, deferred } from "../async.ts";
import { realRandom } from "../real-ports.ts";
import {
  type Authority,
  createRequest,
  createRoot,
  generateKey,
  issueCertificate,
  readRequest,
} from "../x509/issue.ts";
import {
  cross,
  leafOf,
  type Maker,
  maker,
  privateKeyOf,
  root as rootOf,
} from "../x509/testing/go-certificates.ts";
import { openChannel, type RpcChannel } from "./client.ts";
import { createRpcServer, type PeerIdentity, type RpcServer, type TlsMaterial } from "./server.ts";

const root = await createRoot(rootValidity(Date.now()), realRandom);
const foreign = await createRoot(rootValidity(Date.now()), realRandom);
let server: RpcServer;
let port: number;
let seen: (PeerIdentity | undefined)[];
let channels: RpcChannel[];
let answer: Deferred<void>;

beforeEach(async () => {
  seen = [];
  channels = [];
  server = createRpcServer(
    (context) => void seen.push(context.peer),
    ({ nodeId }) => nodeId !== "gone",
  );
  answer = deferred();
  server.add(Health, {
    check: async ({ service }) => {
      if (service === "wait") await answer.promise;
      return {};
    },
  });
  port = await server.listenTls("127.0.0.1", 0, await material(root, "server"));
});

afterEach(async () => {
  for (const channel of channels) channel.close();
  await server.close();
});

async function material(
  authority: Authority,
  nodeId: string,
  ageMs = 0,
  role = NodeRole.MANAGER,
): Promise<TlsMaterial> {
  const key = generateKey();
  const request = await readRequest(await createRequest(key, ""));
  const subject = { nodeId, role, clusterId: "c1" };
  const profile = leafProfile(subject, Date.now() - ageMs, 3_600_000);
  const cert = await issueCertificate(authority, request, profile, realRandom);
  const pem = key.export({ type: "pkcs8", format: "pem" }) as string;
  return { cert, key: pem, ca: root.cert };
}

function open(client: TlsMaterial | undefined, ca = root.cert): RpcChannel {
  const channel = openChannel({
    target: `127.0.0.1:${port}`,
    serverName: "swarm-manager",
    tls: client === undefined ? { ca } : { ca, cert: client.cert, key: client.key },
  });
  channels.push(channel);
  return channel;
}

test("a certificate of ours names the caller; none, a foreign or an expired one names nobody", async () => {
  await open(await material(root, "n1"))
    .client(Health)
    .check({});
  await open(undefined).client(Health).check({});
  await open(await material(foreign, "n1"))
    .client(Health)
    .check({});
  await open(await material(root, "n1", 5 * 3_600_000))
    .client(Health)
    .check({});
  const since = expect.any(Number) as number;
  const ours = { nodeId: "n1", role: "swarm-manager", clusterId: "c1", since };
  expect(seen).toEqual([ours, undefined, undefined, undefined]);
});

test("a client refuses a server of another root", async () => {
  const channel = open(undefined, foreign.cert);
  await expect(channel.client(Health).check({})).rejects.toMatchObject({ code: "unavailable" });
});

describe("a manager of a Docker Engine's swarm that replaces its root", () => {
  let old: Maker;
  let next: Maker;
  let own: Maker;

  beforeEach(async () => {
    [old, next, own] = await Promise.all([maker(), maker(), maker()]);
  });

  /** What it shows, and what the client's roots are then. */
  async function serve(...shown: readonly Promise<X509Certificate>[]): Promise<string> {
    const chain = (await Promise.all(shown)).map(String).join("");
    const ca = (await rootOf(old)).toString();
    server.setTls({ cert: chain, key: privateKeyOf(own), ca });
    return ca;
  }

  test("is spoken to by those who trust the old root, and by those who trust the new one", async () => {
    const ca = await serve(leafOf(next, own), cross(old, next));
    await open(undefined, ca).client(Health).check({});
    await open(undefined, (await rootOf(next)).toString())
      .client(Health)
      .check({});
    expect(seen).toHaveLength(2);
  });

  test.each([
    ["of a root that is not trusted", () => [leafOf(next, own), rootOf(next)]],
    ["with a third certificate", () => [leafOf(next, own), cross(old, next), rootOf(old)]],
    ["of a worker", () => [leafOf(next, own, { names: ["swarm-worker"] }), cross(old, next)]],
    ["whose time is over", () => [leafOf(next, own, { until: Date.now() - 1 }), cross(old, next)]],
  ])("is not, %s", async (_, shown) => {
    const ca = await serve(...shown());
    const refused = open(undefined, ca).client(Health).check({});
    await expect(refused).rejects.toMatchObject({ code: "unavailable" });
    expect(seen).toEqual([]);
  });

  test("hears nothing before it is believed", async () => {
    const heard: Buffer[] = [];
    const key = privateKeyOf(own);
    const cert = (await Promise.all([leafOf(next, own), rootOf(next)])).map(String).join("");
    const ended: Promise<unknown>[] = [];
    const eavesdropper = createTlsServer({ key, cert, ALPNProtocols: ["h2"] }, (socket) => {
      socket.on("data", (chunk: Buffer) => heard.push(chunk));
      socket.on("error", () => undefined);
    });
    eavesdropper.on("connection", (socket: Socket) => ended.push(once(socket, "close")));
    await new Promise<void>((resolve) => eavesdropper.listen(0, "127.0.0.1", resolve));
    try {
      const target = `127.0.0.1:${(eavesdropper.address() as AddressInfo).port}`;
      const tls = { ca: (await rootOf(old)).toString() };
      const channel = openChannel({ target, serverName: "swarm-manager", tls });
      channels.push(channel);
      await expect(channel.client(Health).check({})).rejects.toThrow("unknown authority");
      await expect.poll(() => ended.length, { timeout: 30_000 }).toBe(2);
      await Promise.all(ended);
      expect(Buffer.concat(heard).length).toBe(0);
    } finally {
      eavesdropper.close();
    }
  });
});

test("new certificates are shown to new connections, while old ones live on", async () => {
  const old = open(undefined);
  await old.client(Health).check({});
  server.setTls({ ...(await material(foreign, "server")), ca: foreign.cert });
  await old.client(Health).check({});
  await open(undefined, foreign.cert).client(Health).check({});
  await expect(open(undefined).client(Health).check({})).rejects.toThrow();
});

test("a peer that is dropped loses its connection, and nobody else does", async () => {
  const pending = (nodeId: string) =>
    material(root, nodeId).then((own) =>
      open(own)
        .client(Health)
        .check({ service: "wait" })
        .catch((error: Error) => error),
    );
  const dropped = pending("n1");
  const kept = pending("n2");
  await expect.poll(() => seen.length, { timeout: 30_000 }).toBe(2);
  server.dropPeer("n1");
  // The connection is over, and not gone yet.
  server.dropPeer("n1");
  expect(await dropped).toMatchObject({ code: "unavailable" });
  answer.resolve();
  expect(await kept).not.toBeInstanceOf(Error);
});

test("who has another role now loses the connections of the one before", async () => {
  const pending = async (role: NodeRole) =>
    open(await material(root, "n1", 0, role))
      .client(Health)
      .check({ service: "wait" })
      .catch((error: Error) => error);
  const asManager = pending(NodeRole.MANAGER);
  const asWorker = pending(NodeRole.WORKER);
  await expect.poll(() => seen.length).toBe(2);
  server.dropPeer("n1", "swarm-manager");
  expect(await asManager).toMatchObject({ code: "unavailable" });
  answer.resolve();
  expect(await asWorker).not.toBeInstanceOf(Error);
});

test("a manager brings the calls of all its workers, a worker no more than its own", async () => {
  const many = async (nodeId: string, role: NodeRole) => {
    const client = open(await material(root, nodeId, 0, role)).client(Health);
    return Array.from({ length: 1_100 }, () => client.check({ service: "wait" }));
  };
  const seenOf = (nodeId: string) => seen.filter((peer) => peer?.nodeId === nodeId).length;
  const calls = [...(await many("m", NodeRole.MANAGER)), ...(await many("w", NodeRole.WORKER))];
  await expect.poll(() => [seenOf("m"), seenOf("w")], { timeout: 30_000 }).toEqual([1_100, 1_000]);
  answer.resolve();
  await Promise.all(calls);
  expect(seenOf("w")).toBe(1_100);
});

test("a connection ends with the certificate that opened it", async () => {
  // Valid for an hour, of which all but a second and a half is over.
  const ending = open(await material(root, "n1", 3_600_000 - 1_500));
  const pending = ending.client(Health).check({ service: "wait" });
  const [refused] = await Promise.allSettled([pending]);
  expect(refused).toMatchObject({ status: "rejected", reason: { code: "unavailable" } });
  // The channel opens another by itself, and by it the caller is nobody.
  await ending.client(Health).check({});
  expect(seen.map((peer) => peer?.nodeId)).toEqual(["n1", undefined]);
});

test.each([
  [{ minVersion: "TLSv1.1", maxVersion: "TLSv1.1" }, false],
  [{ maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES256-SHA" }, false],
  [{ maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-SHA256" }, false],
  [{ maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256" }, true],
  [{ minVersion: "TLSv1.3" }, true],
] as const)("a client of %o is spoken to: %s", async (settings, spoken) => {
  const socket = connectTls({
    port,
    host: "127.0.0.1",
    servername: "swarm-manager",
    ca: root.cert,
    ALPNProtocols: ["h2"],
    ...settings,
  });
  const outcome = await new Promise<boolean>((resolve) => {
    socket.once("secureConnect", () => resolve(true));
    socket.once("error", () => resolve(false));
  });
  socket.destroy();
  expect(outcome).toBe(spoken);
});

test("a caller without a certificate can send little at once, as one who is known no more", async () => {
  const large = { service: "x".repeat(1024 * 1024) };
  await open(await material(root, "n1"))
    .client(Health)
    .check(large);
  const removed = open(await material(root, "gone")).client(Health);
  await expect(removed.check(large)).rejects.toMatchObject({ code: "resource-exhausted" });
  const stranger = open(undefined).client(Health);
  await expect(stranger.check(large)).rejects.toMatchObject({ code: "resource-exhausted" });
  // Calls that are more than may be open at once wait for the others.
  await Promise.all(Array.from({ length: 100 }, () => stranger.check({})));
});

test("a client that names no protocol is spoken to in HTTP/2", async () => {
  const socket = connectTls({
    port,
    host: "127.0.0.1",
    servername: "swarm-manager",
    ca: root.cert,
  });
  const emptySettings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
  socket.write(Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), emptySettings]));
  const [first] = (await once(socket, "data")) as [Buffer];
  // A frame of type SETTINGS is how a server of HTTP/2 begins.
  expect(first[3]).toBe(4);
  socket.destroy();
});

test("a connection that never finishes its handshake does not hold up the end", async () => {
  const silent = await new Promise<Socket>((resolve) => {
    const socket: Socket = connect(port, "127.0.0.1", () => resolve(socket));
  });
  silent.on("error", () => undefined);
  const ended = new Promise((resolve) => silent.once("close", resolve));
  // The server knows of the connection once it serves another that came later.
  await open(undefined).client(Health).check({});
  await server.close();
  await ended;
});
