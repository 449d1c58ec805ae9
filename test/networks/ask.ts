/**
 * A question to 127.0.0.11 in the network namespace that it is started in:
 * `node --import tsx ask.ts NAME TYPE udp|tcp`. Prints the answer as JSON.
 */

import { createSocket } from "node:dgram";
import { connect } from "node:net";
import { decode, encode, RECURSION_DESIRED } from "dns-packet";

const [name = "", type = "A", transport = "udp"] = process.argv.slice(2);
const SERVER = "127.0.0.11";
const query = encode({
  type: "query",
  id: 4711,
  flags: RECURSION_DESIRED,
  questions: [{ type: type as "A", name }],
});

function show(message: Buffer, from: string): void {
  const {
    id,
    rcode,
    flag_tc: truncated,
    answers,
  } = decode(message) as ReturnType<typeof decode> & { rcode: string };
  const data = (answers ?? []).map((answer) =>
    "data" in answer && typeof answer.data === "string" ? answer.data : "",
  );
  process.stdout.write(JSON.stringify({ id, rcode, truncated, data, from }));
  process.exit(0);
}

if (transport === "udp") {
  const socket = createSocket("udp4");
  socket.on("message", (message, { address, port }) => show(message, `${address}:${port}`));
  socket.send(query, 53, SERVER);
} else {
  let received = Buffer.alloc(0);
  const socket = connect(53, SERVER);
  socket.on("data", (chunk) => {
    received = Buffer.concat([received, chunk]);
    if (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
      show(received.subarray(2), `${socket.remoteAddress}:${socket.remotePort}`);
    }
  });
  const length = Buffer.alloc(2);
  length.writeUInt16BE(query.length);
  // In two pieces, as a slow client would.
  socket.write(Buffer.concat([length, query.subarray(0, 5)]), () =>
    setImmediate(() => socket.write(query.subarray(5))),
  );
}
// As long as a resolver waits by default.
setTimeout(() => process.exit(1), 5_000);
