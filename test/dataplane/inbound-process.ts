/**
 * Runs in a network namespace of its own: a server on an address that is not loopback, and clients
 * that stay connected until they are told to go. Says "ready", and "gone" after each line it is sent.
 */

import { execFileSync } from "node:child_process";
import { connect, createServer } from "node:net";
import { createInterface } from "node:readline";

const ADDRESS = "10.9.9.1";
execFileSync("ip", ["link", "set", "lo", "up"]);
execFileSync("ip", ["addr", "add", `${ADDRESS}/32`, "dev", "lo"]);
const server = createServer((socket) => socket.on("end", () => socket.end()));
await new Promise<void>((resolve) => server.listen(80, ADDRESS, resolve));
const clients = await Promise.all(
  [ADDRESS, ADDRESS].map(
    (host) =>
      new Promise<ReturnType<typeof connect>>((resolve) => {
        const socket = connect(80, host, () => resolve(socket));
      }),
  ),
);
console.log("ready");
createInterface(process.stdin).on("line", () => {
  const client = clients.pop();
  client?.once("close", () => console.log("gone"));
  client?.end();
});
