import { once } from "node:events";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { leafProfile, rootValidity } from "#pki/profile.ts";
import { deferred } from "#platform/async.ts";
import { silentLog } from "#platform/log.ts";
import { realRandom } from "#platform/real-ports.ts";
import {
  type Authority,
  createRequest,
  createRoot,
  generateKey,
  issueCertificate,
  readRequest,
} from "#platform/x509/issue.ts";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import type { Route } from "./route.ts";
import { type ApiServer, createApiServer } from "./server.ts";

let folder: string;
let server: ApiServer;
let socketPath: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skep-api-"));
  socketPath = join(folder, "s.sock");
});

afterEach(async () => {
  await server.close(50);
  await rm(folder, { recursive: true });
});

async function serve(...routes: Route[]): Promise<void> {
  server = createApiServer({ routes, log: silentLog });
  await server.listenUnix(socketPath);
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

async function call(method: string, path: string, body?: string, type?: string): Promise<Answer> {
  const headers = type === undefined ? {} : { "content-type": type };
  const request = httpRequest({ socketPath, method, path, headers });
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request.once("error", reject);
    request.once("response", resolve);
    request.end(body);
  });
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  return { status: response.statusCode ?? 0, headers: response.headers, body: text };
}

const echo: Route = {
  method: "GET",
  path: "/containers/{id}/json",
  handler: (request, response) =>
    response.json(200, {
      id: request.params.id,
      minor: request.version.minor,
      size: request.flag("size"),
      filters: Object.fromEntries(request.filters()),
    }),
};

test("versions: prefix, none, too old, too new", async () => {
  await serve(echo);
  expect(JSON.parse((await call("GET", "/v1.41/containers/a/json")).body).minor).toBe(41);
  const plain = await call("GET", "/containers/a%2Fb/json?size=1");
  expect(JSON.parse(plain.body)).toMatchObject({ id: "a/b", minor: 51, size: true });
  expect(plain.headers).toMatchObject({ "api-version": "1.51", ostype: "linux" });
  const old = await call("GET", "/v1.10/containers/a/json");
  expect(old.status).toBe(400);
  expect(JSON.parse(old.body).message).toBe(
    "client version 1.10 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version",
  );
  expect((await call("GET", "/v1.99/containers/a/json")).body).toContain("is too new");
  expect(await call("POST", "/containers/a/json")).toMatchObject({
    status: 404,
    body: '{"message":"page not found"}\n',
  });
});

test("filters in both forms, and refused when malformed", async () => {
  await serve(echo);
  const ask = (filters: string) =>
    call("GET", `/containers/a/json?filters=${encodeURIComponent(filters)}`);
  expect(JSON.parse((await ask('{"name":["a","b"]}')).body).filters).toEqual({ name: ["a", "b"] });
  expect(JSON.parse((await ask('{"name":{"a":true,"b":false}}')).body).filters).toEqual({
    name: ["a"],
  });
  expect((await ask("{")).status).toBe(400);
  expect((await ask('{"name":3}')).status).toBe(400);
});

test("names with slashes match in the middle of a path", async () => {
  const reply =
    (what: string): Route["handler"] =>
    (request, response) =>
      response.text(200, `${what}:${request.params.name}`);
  await serve(
    { method: "GET", path: "/images/{name:.*}/json", handler: reply("inspect") },
    { method: "GET", path: "/images/json", handler: reply("list") },
  );
  expect((await call("GET", "/images/lib/busybox:1/json")).body).toBe("inspect:lib/busybox:1");
  expect((await call("GET", "/images/json")).body).toBe("list:undefined");
});

test("errors: code to status and message; a bug is 500; malformed bodies are 400", async () => {
  await serve(
    {
      method: "POST",
      path: "/fail/{code}",
      handler: (request) => {
        throw new EngineError(request.params.code as "conflict", "no way");
      },
    },
    {
      method: "POST",
      path: "/body",
      handler: async (request, response) => response.json(200, (await request.json()) ?? "none"),
    },
    { method: "GET", path: "/silent", handler: () => undefined },
  );
  expect(await call("POST", "/fail/conflict")).toMatchObject({
    status: 409,
    body: '{"message":"no way"}\n',
  });
  expect(await call("POST", "/fail/not-modified")).toMatchObject({ status: 304, body: "" });
  expect((await call("POST", "/body")).body).toBe('"none"\n');
  expect((await call("POST", "/body", "{", "application/json")).status).toBe(400);
  expect((await call("POST", "/body", "{}", "text/plain")).status).toBe(400);
  expect((await call("GET", "/silent")).status).toBe(500);
});

test("a client that is refused amid its body may send the rest, whoever has begun to read it", async () => {
  await serve({
    method: "POST",
    path: "/images/load",
    handler: async (request) => {
      // Not asked for more, and not let go of: what it holds is full soon.
      await request.body[Symbol.asyncIterator]().next();
      throw new EngineError("resource-exhausted", "no space left on device");
    },
  });
  const socket = connect(socketPath);
  const size = 20 << 20;
  socket.write(`POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: ${size}\r\n\r\n`);
  // Told what the kernel has taken, and what went wrong with it.
  const broken = await new Promise((resolve) => socket.write(Buffer.alloc(size), resolve));
  expect(broken ?? undefined).toBeUndefined();
  const [answer] = (await once(socket, "data")) as [Buffer];
  expect(answer.toString()).toMatch(/^HTTP\/1.1 500 [^]*no space left on device/);
  socket.destroy();
});

test("a streaming route hears that its client went away", async () => {
  const gone = deferred();
  await serve({
    method: "GET",
    path: "/events",
    handler: async (request, response) => {
      const out = response.stream(200, "application/json");
      out.write("{}\n");
      await new Promise<void>((resolve) => {
        request.signal.addEventListener("abort", () => resolve());
      });
      gone.resolve();
    },
  });
  const request = httpRequest({ socketPath, path: "/events" });
  request.end();
  request.on("error", () => undefined);
  const response = await new Promise<IncomingMessage>((resolve) => request.on("response", resolve));
  await new Promise((resolve) => response.once("data", resolve));
  request.destroy();
  await gone.promise;
});

test("hijack: upgrade with a JSON body, raw bytes both ways, half-close kept", async () => {
  await serve({
    method: "POST",
    path: "/exec/{id}/start",
    handler: async (request, response) => {
      const body = await request.json<{ Tty: boolean }>();
      const { socket } = response.hijack("application/vnd.docker.raw-stream");
      socket.write(`tty=${body?.Tty};`);
      let input = "";
      socket.on("data", (chunk: Buffer) => {
        input += chunk.toString();
      });
      socket.on("end", () => socket.end(`got ${input}`));
    },
  });
  const talk = (upgrade: string) =>
    new Promise<string>((resolve) => {
      const socket = connect({ path: socketPath, allowHalfOpen: true });
      let output = "";
      let sent = false;
      socket.write(
        `POST /v1.47/exec/x/start HTTP/1.1\r\nHost: d\r\n${upgrade}Content-Type: application/json\r\nContent-Length: 12\r\n\r\n{"Tty":true}`,
      );
      socket.on("data", (chunk: Buffer) => {
        output += chunk.toString();
        if (!sent && output.includes("tty=true;")) {
          sent = true;
          socket.end("GET / HTTP/1.1\r\n\r\n");
        }
      });
      socket.on("end", () => resolve(output));
    });
  const upgraded = await talk("Connection: Upgrade\r\nUpgrade: tcp\r\n");
  expect(upgraded).toMatch(/^HTTP\/1.1 101 UPGRADED\r\n/);
  expect(upgraded).toMatch(/got GET \/ HTTP\/1.1\r\n\r\n$/);
  expect(await talk("")).toMatch(/^HTTP\/1.1 200 OK\r\n/);
});

test("hijack: what the client sends before the route reads is kept", async () => {
  const go = deferred();
  await serve({
    method: "POST",
    path: "/attach",
    handler: async (_request, response) => {
      const { socket } = response.hijack("application/vnd.docker.raw-stream");
      await go.promise;
      let input = "";
      for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
        input += String(chunk);
      }
      socket.end(`got ${input}`);
    },
  });
  const socket = connect({ path: socketPath, allowHalfOpen: true });
  socket.write("POST /attach HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
  const output: Buffer[] = [];
  const ended = new Promise((resolve) => socket.on("end", resolve));
  socket.on("data", (chunk: Buffer) => output.push(chunk));
  await new Promise((resolve) => socket.once("data", resolve));
  await new Promise<void>((resolve) => socket.end("early\n", resolve));
  // Over once more through the event loop of the server, so that the bytes are there.
  await call("GET", "/nothing");
  go.resolve();
  await ended;
  expect(Buffer.concat(output).toString()).toMatch(/got early\n$/);
});

test("the socket has its mode, and a second engine on it is refused", async () => {
  await serve(echo);
  expect((await stat(socketPath)).mode & 0o777).toBe(0o660);
  const second = createApiServer({ routes: [], log: silentLog });
  await expect(second.listenUnix(socketPath)).rejects.toThrow(/another process serves/);
});

test("close cuts what is still streaming", async () => {
  await serve({
    method: "GET",
    path: "/events",
    handler: (_request, response) => void response.stream(200, "text/plain").write("x"),
  });
  const request = httpRequest({ socketPath, path: "/events" });
  request.end();
  const ended = new Promise((resolve) => {
    request.on("error", resolve);
    request.on("close", resolve);
    request.on("response", (response) => response.resume());
  });
  await new Promise((resolve) => request.once("response", resolve));
  await server.close(20);
  await ended;
});

/** A certificate of an authority that may be shown by either side. */
async function shown(authority: Authority, ageMs = 0) {
  const key = generateKey();
  const request = await readRequest(await createRequest(key, ""));
  const subject = { nodeId: "n", role: NodeRole.MANAGER, clusterId: "c" };
  const profile = leafProfile(subject, Date.now() - ageMs, 3_600_000);
  const cert = await issueCertificate(authority, request, profile, realRandom);
  return { cert, key: key.export({ type: "pkcs8", format: "pem" }) as string };
}

/** What a client that connects so is answered; empty when it is not spoken to. */
function ping(port: number, options: ConnectionOptions): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    const socket = connectTls({ port, host: "127.0.0.1", servername: "swarm-manager", ...options });
    socket.on("data", (chunk: Buffer) => (answer += chunk.toString()));
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(answer.split("\r\n")[0] ?? ""));
    socket.write("GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  });
}

test("over TCP only those are served whose certificate its authority signed, and in no weak way", async () => {
  const [root, other] = [
    await createRoot(rootValidity(Date.now()), realRandom),
    await createRoot(rootValidity(Date.now()), realRandom),
  ];
  let asked = 0;
  const handler: Route["handler"] = (_, response) => {
    asked += 1;
    response.empty(200);
  };
  server = createApiServer({
    routes: [{ method: "GET", path: "/_ping", handler }],
    log: silentLog,
  });
  const port = await server.listenTcp("127.0.0.1", 0, { ...(await shown(root)), ca: root.cert });
  const good = { ca: root.cert, ...(await shown(root)) };
  const refused: Readonly<Record<string, ConnectionOptions>> = {
    "no certificate": { ca: root.cert },
    "one of another authority": { ca: root.cert, ...(await shown(other)) },
    "one that is over": { ca: root.cert, ...(await shown(root, 5 * 3_600_000)) },
    "TLS 1.1": { ...good, minVersion: "TLSv1.1", maxVersion: "TLSv1.1" },
    "CBC and SHA-1": { ...good, maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-SHA" },
    "CBC and SHA-256": { ...good, maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-SHA256" },
  };
  for (const [how, options] of Object.entries(refused))
    expect(await ping(port, options), how).toBe("");
  expect(asked).toBe(0);
  const gcm = { ...good, maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256" } as const;
  for (const options of [good, gcm]) expect(await ping(port, options)).toBe("HTTP/1.1 200 OK");
});

test("close answers who was let in before, and lets nobody in after", async () => {
  await serve(echo);
  const socket = connect(socketPath);
  await new Promise((resolve) => socket.once("connect", resolve));
  const closed = server.close(1_000);
  socket.write("GET /containers/a/json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  let answer = "";
  for await (const chunk of socket) answer += String(chunk);
  expect(answer).toContain("HTTP/1.1 200 OK");
  await closed;
  await expect(call("GET", "/containers/a/json")).rejects.toMatchObject({ code: "ENOENT" });
});

test("over TCP those who never shake hands are so many and no more, and hold up nobody", async () => {
  const root = await createRoot(rootValidity(Date.now()), realRandom);
  const handler: Route["handler"] = (_, response) => response.empty(200);
  server = createApiServer({
    routes: [{ method: "GET", path: "/_ping", handler }],
    log: silentLog,
  });
  const port = await server.listenTcp("127.0.0.1", 0, { ...(await shown(root)), ca: root.cert });
  const silent: Socket[] = [];
  try {
    for (let at = 0; at < 600; at += 1) {
      const socket = connect({ port, host: "127.0.0.1", localAddress: "127.0.0.2" });
      silent.push(socket.on("error", () => undefined));
      await once(socket, "connect");
    }
    expect(await ping(port, { ca: root.cert, ...(await shown(root)) })).toBe("HTTP/1.1 200 OK");
    await expect.poll(() => silent.filter(({ closed }) => !closed).length).toBeLessThanOrEqual(512);
    expect(silent.at(-1)?.closed).toBe(false);
  } finally {
    for (const socket of silent) socket.destroy();
  }
});
