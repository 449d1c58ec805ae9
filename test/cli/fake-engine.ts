/** An engine's API as far as a command line needs it to be seen reaching one: ping, ps, and an exec that echoes. */

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type ServerOptions } from "node:https";
import type { Duplex } from "node:stream";
import { text } from "node:stream/consumers";

export interface FakeEngine {
  readonly listen: (where: string | number) => Promise<number>;
  readonly close: () => Promise<void>;
  /** "GET /v1.47/containers/json", as they came. */
  readonly asked: string[];
  /** What the last request brought: its X-Registry-Auth, decoded, or the body of `/auth`. */
  readonly credentials: () => unknown;
}

export interface FakeOptions {
  readonly tls?: ServerOptions;
  /** Given for a password at a login, "" = none. */
  readonly identityToken?: string;
  /** An older engine's newest version. */
  readonly maxVersion?: string;
}

/** Answers `ps` with one container of this name. */
export function fakeEngine(
  name: string,
  { tls, identityToken = "", maxVersion = "1.47" }: FakeOptions = {},
): FakeEngine {
  const asked: string[] = [];
  let credentials: unknown;
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    asked.push(`${request.method} ${request.url}`);
    const sent = await text(request);
    const header = request.headers["x-registry-auth"];
    if (request.url?.endsWith("/auth") === true) credentials = JSON.parse(sent);
    else if (header === undefined) credentials = undefined;
    else credentials = JSON.parse(Buffer.from(String(header), "base64url").toString());
    const told = { name, identityToken, maxVersion };
    const [status, body] = answerTo(request.url ?? "", told);
    response.writeHead(status, { "Content-Type": "application/json", "Api-Version": maxVersion });
    response.end(request.method === "HEAD" ? undefined : JSON.stringify(body));
  };
  const onRequest = (request: IncomingMessage, response: ServerResponse) =>
    void answer(request, response);
  const server = tls === undefined ? createServer(onRequest) : createTlsServer(tls, onRequest);
  const open = new Set<Duplex>();
  server.on("connection", (socket: Duplex) => {
    open.add(socket);
    socket.on("close", () => open.delete(socket));
  });
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    asked.push(`${request.method} ${request.url}`);
    echo(request, socket, head);
  });
  return {
    asked,
    credentials: () => credentials,
    listen: (where) =>
      new Promise((resolve, reject) => {
        server.once("error", reject);
        server.listen(where, () => {
          const address = server.address();
          resolve(typeof address === "object" && address !== null ? address.port : 0);
        });
      }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of open) socket.destroy();
      }),
  };
}

function answerTo(
  url: string,
  { name, identityToken, maxVersion }: { name: string; identityToken: string; maxVersion: string },
): readonly [number, unknown] {
  const [, version = maxVersion, path = url] = /^\/v([\d.]+)(\/.*)$/.exec(url) ?? [];
  if (Number(version.split(".")[1]) > Number(maxVersion.split(".")[1])) {
    const message = `client version ${version} is too new. Maximum supported API version is ${maxVersion}`;
    return [400, { message }];
  }
  if (path.startsWith("/_ping")) return [200, "OK"];
  if (path === "/auth") return [200, { Status: "Login Succeeded", IdentityToken: identityToken }];
  if (path.startsWith("/images/create")) return [200, { status: "pulled" }];
  if (path.endsWith("/exec")) return [201, { Id: "e1" }];
  if (path.startsWith("/exec/e1/json")) return [200, { Running: false, ExitCode: 7 }];
  if (!path.startsWith("/containers/json")) return [404, { message: `no ${path}` }];
  return [
    200,
    [
      {
        Id: "1".repeat(64),
        Names: [`/${name}`],
        Image: "image",
        ImageID: `sha256:${"0".repeat(64)}`,
        Command: "command",
        Created: 1,
        State: "running",
        Status: "Up 1 second",
        Ports: [],
        Labels: {},
        Mounts: [],
        NetworkSettings: { Networks: {} },
      },
    ],
  ];
}

/** What comes in goes out as frames of standard output, until the client has said all. */
function echo(request: IncomingMessage, socket: Duplex, head: Buffer): void {
  const body = Number(request.headers["content-length"] ?? 0);
  let skip = body;
  socket.write(
    "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
  );
  const onData = (chunk: Buffer) => {
    const data = chunk.subarray(Math.min(skip, chunk.length));
    skip -= chunk.length - data.length;
    if (data.length === 0) return;
    const header = Buffer.alloc(8);
    header[0] = 1;
    header.writeUInt32BE(data.length, 4);
    socket.write(Buffer.concat([header, data]));
  };
  onData(head);
  socket.on("data", onData);
  socket.on("end", () => socket.end());
  socket.on("error", () => socket.destroy());
}
