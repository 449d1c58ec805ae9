import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { must } from "#base/invariant.ts";
import { Strangers } from "./strangers.ts";

const MAX = 8;

let strangers: Strangers;
let server: Server;
let clients: Socket[];
/** The server's ends, by the port of the other. */
let accepted: Map<number, Socket>;

beforeEach(async () => {
  strangers = new Strangers(MAX);
  clients = [];
  accepted = new Map();
  server = createServer((socket) => {
    accepted.set(socket.remotePort ?? 0, socket);
    socket.on("error", () => undefined);
    strangers.add(socket);
  });
  server.listen(0);
  await once(server, "listening");
});

afterEach(async () => {
  for (const client of clients) client.destroy();
  for (const socket of accepted.values()) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
});

/** Connects from that address, and waits until the server knows of it. */
async function from(localAddress: string): Promise<Socket> {
  const { port } = server.address() as AddressInfo;
  const socket = connect({ port, host: "127.0.0.1", localAddress });
  clients.push(socket);
  socket.on("error", () => undefined);
  await once(socket, "connect");
  await expect.poll(() => accepted.has(socket.localPort ?? 0)).toBe(true);
  return socket;
}

test("there are so many and no more, and a host that floods pushes out its own", async () => {
  const other = await from("127.0.0.3");
  const flood: Socket[] = [];
  for (let at = 0; at < 3 * MAX; at += 1) flood.push(await from("127.0.0.2"));
  expect(strangers.size).toBe(MAX);
  await expect.poll(() => flood.filter(({ closed }) => !closed).length).toBe(MAX - 1);
  // Its newest are left, and nobody else had to go.
  expect(flood.slice(-(MAX - 1)).every(({ closed }) => !closed)).toBe(true);
  expect(other.closed).toBe(false);
});

test("who is introduced, and who has gone, does not count", async () => {
  const known = await from("127.0.0.2");
  strangers.introduced("::ffff:127.0.0.2", known.localPort);
  expect(strangers.size).toBe(0);
  strangers.introduced("::ffff:127.0.0.2", known.localPort);
  expect(strangers.size).toBe(0);
  const gone = await from("127.0.0.2");
  expect(strangers.size).toBe(1);
  must(accepted.get(gone.localPort ?? 0), "socket").destroy();
  await expect.poll(() => strangers.size).toBe(0);
  for (let at = 0; at < 2 * MAX; at += 1) await from("127.0.0.2");
  expect(known.closed).toBe(false);
});
