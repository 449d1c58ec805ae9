/**
 * A name server to forward to: `node --import tsx name-server.ts ADDRESS [silent]`. Prints "ready",
 * then a line for every question: its transport, type, name and who asked.
 */

import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { type Answer, decode, encode, type Packet } from "dns-packet";

const [address = "127.0.0.1", mode = ""] = process.argv.slice(2);
const MANY = 60;
const NAME_ERROR = 3;
const SERVER_FAILURE = 2;

function answer(message: Buffer, transport: "udp" | "tcp", from: string): Buffer | undefined {
  const query = decode(message);
  const question = query.questions?.[0];
  if (question === undefined) return undefined;
  const { name, type } = question;
  process.stdout.write(`${transport} ${type} ${name} ${from}\n`);
  if (mode === "silent") return undefined;
  const a = (data: string, ttl = 300): Answer => ({ type: "A", name, ttl, data });
  const reply = (more: Partial<Packet>): Buffer =>
    encode({ type: "response", id: query.id ?? 0, questions: [question], ...more });
  switch (name.toLowerCase()) {
    case "fixed.example":
      return reply({ answers: type === "A" ? [a("198.51.100.1")] : [] });
    case "brief.example":
      return reply({ answers: [a("198.51.100.2", 0)] });
    case "who.example":
      return reply({ answers: [a(from, 0)] });
    case "big.example":
      return transport === "udp"
        ? reply({ flags: 0x200 })
        : reply({ answers: Array.from({ length: MANY }, (_, index) => a(`198.51.100.${index}`)) });
    case "broken.example":
      return reply({ flags: SERVER_FAILURE });
    default:
      return reply({ flags: NAME_ERROR });
  }
}

const udp = createSocket("udp4");
udp.on("message", (message, { address: from, port }) => {
  const reply = answer(message, "udp", from);
  if (reply !== undefined) udp.send(reply, port, from);
});
const tcp = createServer((socket) => {
  socket.on("error", () => undefined);
  socket.on("data", (data) => {
    const reply = answer(data.subarray(2), "tcp", socket.remoteAddress ?? "");
    if (reply === undefined) return;
    const length = Buffer.alloc(2);
    length.writeUInt16BE(reply.length);
    socket.end(Buffer.concat([length, reply]));
  });
});
udp.bind(53, address, () => tcp.listen(53, address, () => process.stdout.write("ready\n")));
