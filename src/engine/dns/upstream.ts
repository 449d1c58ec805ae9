/**
 * One question to other name servers: the first that gives a proper answer is believed. Every
 * question has a socket of its own, and so a port that nobody can guess; the sockets are in the
 * namespace of the container, whose network may lead to servers that the host cannot reach.
 */

import { createSocket } from "node:dgram";
import { connect, Socket } from "node:net";
import { EngineError, isErrorCode } from "#base/error.ts";
import type { Clock, Random } from "#base/ports.ts";
import { bindSocket, connectSocket } from "#platform/net/socket.ts";
import { framed, type Transport } from "./listener.ts";
import { type Reply, readReply, sameQuestion } from "./reply.ts";

export interface Upstream {
  readonly address: string;
  /** Asked from this namespace; undefined = the engine's own. */
  readonly netns: string | undefined;
}

const PORT = 53;
/** As many as a resolv.conf may name. */
const SERVERS_MAX = 3;
/** Clients give up after five seconds: by then they must have heard that nobody answers. */
const TOTAL_MS = 4_500;
const ATTEMPT_MAX_MS = 2_000;
/** A lone server is asked again, in case a datagram was lost. */
const ATTEMPTS_MIN = 2;
const RCODE_SERVER_FAILURE = 2;
const RCODE_REFUSED = 5;

export interface Exchange {
  readonly clock: Clock;
  readonly random: Random;
}

/** The answer, or the best of those that say that a server cannot; undefined when none came. */
export async function askUpstream(
  query: Buffer,
  transport: Transport,
  servers: readonly Upstream[],
  exchange: Exchange,
): Promise<Reply | undefined> {
  const some = servers.slice(0, SERVERS_MAX);
  let refusal: Reply | undefined;
  const attempts = Math.max(some.length, ATTEMPTS_MIN);
  const timer = { clock: exchange.clock, ms: Math.min(ATTEMPT_MAX_MS, TOTAL_MS / attempts) };
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    const server = some[attempt % some.length];
    if (server === undefined) return undefined;
    const own = Buffer.from(query);
    own.writeUInt16BE(exchange.random.int(0x10000), 0);
    try {
      const reply = await askOnce(own, transport, server, timer);
      if (reply.rcode !== RCODE_SERVER_FAILURE && reply.rcode !== RCODE_REFUSED) return reply;
      refusal ??= reply;
    } catch {
      // Unreachable or silent: the next one may know.
    }
  }
  return refusal;
}

interface Patience {
  readonly clock: Clock;
  readonly ms: number;
}

async function askOnce(
  query: Buffer,
  transport: Transport,
  server: Upstream,
  patience: Patience,
): Promise<Reply> {
  if (transport === "udp") return await askUdp(query, server, patience);
  try {
    return await askTcp(query, server, patience);
  } catch (error) {
    if (isErrorCode(error, "deadline-exceeded")) throw error;
    // Few servers are without TCP; those that are still give what fits a datagram.
    return await askUdp(query, server, patience);
  }
}

/** An answer to this query and no other: forged and late ones are passed over. */
function fitting(query: Buffer, message: Buffer): Reply | undefined {
  const reply = readReply(message);
  if (reply === undefined || message.readUInt16BE(0) !== query.readUInt16BE(0)) return undefined;
  return sameQuestion(query, reply) ? reply : undefined;
}

function askUdp(
  query: Buffer,
  { address, netns }: Upstream,
  { clock, ms }: Patience,
): Promise<Reply> {
  const six = address.includes(":");
  const any = { protocol: "udp", address: six ? "::" : "0.0.0.0", port: 0 } as const;
  const fd = bindSocket(any, { netns });
  const socket = createSocket(six ? "udp6" : "udp4");
  return new Promise<Reply>((resolve, reject) => {
    let over = false;
    const end = (result: Reply | Error) => {
      if (over) return;
      over = true;
      timer.cancel();
      socket.close();
      if (result instanceof Error) reject(result);
      else resolve(result);
    };
    const timer = clock.setTimer(ms, () => end(late(address)));
    socket.on("error", end);
    socket.on("message", (message) => {
      const reply = fitting(query, message);
      if (reply !== undefined) end(reply);
    });
    socket.bind({ fd, exclusive: true }, () => {
      // Connected, so that the kernel drops what others send and tells of a closed port.
      socket.connect(PORT, address, () => {
        if (!over) socket.send(query, () => undefined);
      });
    });
  });
}

async function askTcp(
  query: Buffer,
  { address, netns }: Upstream,
  { clock, ms }: Patience,
): Promise<Reply> {
  const socket =
    netns === undefined
      ? connect({ host: address, port: PORT })
      : new Socket({ fd: connectSocket({ address, port: PORT }, netns) });
  return await new Promise<Reply>((resolve, reject) => {
    const timer = clock.setTimer(ms, () => end(late(address)));
    let buffered = Buffer.alloc(0);
    const end = (result: Reply | Error) => {
      timer.cancel();
      socket.destroy();
      if (result instanceof Error) reject(result);
      else resolve(result);
    };
    socket.on("error", end);
    socket.on("close", () => end(silent(address)));
    socket.on("data", (chunk: Buffer) => {
      buffered = Buffer.concat([buffered, chunk]);
      if (buffered.length < 2 || buffered.length < 2 + buffered.readUInt16BE(0)) return;
      const reply = fitting(query, buffered.subarray(2, 2 + buffered.readUInt16BE(0)));
      end(reply ?? silent(address));
    });
    socket.write(framed(query));
  });
}

function late(address: string): EngineError {
  return new EngineError("deadline-exceeded", `the name server ${address} is silent`);
}

function silent(address: string): EngineError {
  return new EngineError("unavailable", `the name server ${address} gives no answer`);
}
