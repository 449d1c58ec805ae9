/**
 * The sockets of one container's resolver, inside the container's network namespace: 127.0.0.11 on
 * ports that the kernel chooses, and two rules that lead port 53 there. A container that serves DNS
 * itself, on port 53 of every address, is so not in its way.
 */

import { createSocket, type RemoteInfo, type Socket as UdpSocket } from "node:dgram";
import { createServer, type Server, type Socket } from "node:net";
import { isErrorCode } from "#base/error.ts";
import { type Nft, openNft } from "#platform/net/nft.ts";
import { NftGeneration } from "#platform/net/nft-generation.ts";
import { bindSocket } from "#platform/net/socket.ts";
import { RESOLVER_ADDRESS } from "./address.ts";

const TABLE = "skep_dns";
const CONNECTIONS_MAX = 64;
const IDLE_MS = 10_000;
/** The length of a message in front of it, and the longest that it can tell. */
const LENGTH_BYTES = 2;
/** Questions of one connection that are not answered yet; more wait in the kernel. */
const PENDING_MAX = 16;

export type Transport = "udp" | "tcp";

/** Answers a message; undefined = it gets none. Never rejects. */
export type MessageHandler = (
  message: Buffer,
  transport: Transport,
) => Promise<Uint8Array | undefined>;

export interface Listener {
  /** Puts the rules back that somebody took away; true when there was something to do. */
  audit(): Promise<boolean>;
  close(): void;
}

export async function openListener(
  netns: string,
  handle: MessageHandler,
  onError: (error: unknown) => void,
): Promise<Listener> {
  const opened: { close(): void }[] = [];
  const close = () => {
    for (const one of opened.splice(0)) one.close();
  };
  try {
    const udp = await openUdp(netns, handle, onError);
    opened.push(udp);
    const tcp = await openTcp(netns, handle, onError);
    opened.push(tcp);
    const redirect = new Redirect(netns, udp.address().port, portOf(tcp.server));
    opened.push(redirect);
    await redirect.write();
    return { audit: () => redirect.audit(), close };
  } catch (error) {
    close();
    throw error;
  }
}

function openUdp(
  netns: string,
  handle: MessageHandler,
  onError: (error: unknown) => void,
): Promise<UdpSocket> {
  const binding = { protocol: "udp", address: RESOLVER_ADDRESS, port: 0 } as const;
  const fd = bindSocket(binding, { netns, freeBind: true });
  const socket = createSocket("udp4");
  let open = true;
  socket.on("close", () => (open = false));
  const serve = async (message: Buffer, from: RemoteInfo) => {
    const reply = await handle(message, "udp");
    // Who asked may be gone; there is nobody else to tell.
    if (open && reply !== undefined) socket.send(reply, from.port, from.address, () => undefined);
  };
  socket.on("message", (message, from) => void serve(message, from));
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.bind({ fd, exclusive: true }, () => {
      socket.off("error", reject);
      socket.on("error", onError);
      resolve(socket);
    });
  });
}

async function openTcp(
  netns: string,
  handle: MessageHandler,
  onError: (error: unknown) => void,
): Promise<{ readonly server: Server; close(): void }> {
  const binding = { protocol: "tcp", address: RESOLVER_ADDRESS, port: 0 } as const;
  const fd = bindSocket(binding, { netns, freeBind: true });
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.on("close", () => open.delete(socket));
    serveConnection(socket, handle);
  });
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ fd, exclusive: true }, () => {
      server.off("error", reject);
      server.on("error", onError);
      resolve();
    });
  });
  const close = () => {
    server.close();
    for (const socket of open) socket.destroy();
  };
  return { server, close };
}

function serveConnection(socket: Socket, handle: MessageHandler): void {
  let buffered = Buffer.alloc(0);
  let pending = 0;
  const serve = async (message: Buffer) => {
    const reply = await handle(message, "tcp");
    pending -= 1;
    if (reply !== undefined && socket.writable) socket.write(framed(reply));
    readOn();
  };
  const readOn = () => {
    while (pending < PENDING_MAX && buffered.length >= LENGTH_BYTES) {
      const end = LENGTH_BYTES + buffered.readUInt16BE(0);
      if (buffered.length < end) break;
      const message = buffered.subarray(LENGTH_BYTES, end);
      buffered = buffered.subarray(end);
      pending += 1;
      void serve(message);
    }
    // A client that asks faster than it can be answered is not read from.
    if (pending >= PENDING_MAX) socket.pause();
    else socket.resume();
  };
  socket.setTimeout(IDLE_MS, () => socket.destroy());
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk: Buffer) => {
    buffered = Buffer.concat([buffered, chunk]);
    readOn();
  });
}

export function framed(message: Uint8Array): Buffer {
  const whole = Buffer.alloc(LENGTH_BYTES + message.length);
  whole.writeUInt16BE(message.length, 0);
  whole.set(message, LENGTH_BYTES);
  return whole;
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** The rules that lead port 53 to the sockets. */
class Redirect {
  readonly #netns: string;
  readonly #rules: readonly string[];
  readonly #generation: NftGeneration;
  /** The state of the namespace's nftables in which the rules were last seen. */
  #seen: number | undefined;

  constructor(netns: string, udpPort: number, tcpPort: number) {
    this.#netns = netns;
    this.#rules = [rule("udp", udpPort), rule("tcp", tcpPort)];
    this.#generation = new NftGeneration(netns);
  }

  /** Replaces what an engine that is no more has left in a namespace that goes on. */
  async write(): Promise<void> {
    await this.#with((nft) =>
      nft.run(`add table ip ${TABLE}
delete table ip ${TABLE}
table ip ${TABLE} {
  chain output {
    type nat hook output priority -100; policy accept;
    ${this.#rules.join("\n    ")}
  }
}`),
    );
  }

  async audit(): Promise<boolean> {
    const generation = this.#generation.read();
    if (generation === this.#seen) return false;
    const listing = await this.#with((nft) => nft.list(`list table ip ${TABLE}`)).catch(
      (error: unknown) => {
        if (isErrorCode(error, "not-found")) return [];
        throw error;
      },
    );
    const rules = listing.filter((entry) => entry["rule"] !== undefined).length;
    if (rules === this.#rules.length) {
      this.#seen = generation;
      return false;
    }
    await this.write();
    return true;
  }

  close(): void {
    this.#generation.close();
  }

  async #with<T>(work: (nft: Nft) => Promise<T>): Promise<T> {
    const nft = openNft({ netns: this.#netns });
    try {
      return await work(nft);
    } finally {
      nft.close();
    }
  }
}

function rule(protocol: Transport, port: number): string {
  return `ip daddr ${RESOLVER_ADDRESS} ${protocol} dport 53 dnat to ${RESOLVER_ADDRESS}:${port}`;
}
