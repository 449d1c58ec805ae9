/**
 * Enough of SCTP to see where packets go on a kernel that has none itself: a server that answers INIT
 * with INIT ACK, whose cookie says who it is and whom it sees, and a client that prints the cookie.
 * `sctp-peer.ts server4|server6 PORT NAME` (says "ready") or `sctp-peer.ts client ADDRESS PORT`.
 */

import ipaddr from "ipaddr.js";
import koffi from "koffi";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_RAW = 3;
const IPPROTO_SCTP = 132;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const INIT = 1;
const INIT_ACK = 2;
const ABORT = 6;
const COOKIE = 7;
const TIMEOUT_S = 2;

const libc = koffi.load("libc.so.6");
type Call = (...args: unknown[]) => number;
const call = (declaration: string) => libc.func(declaration) as unknown as Call;
const socket = call("int socket(int domain, int type, int protocol)");
const setsockopt = call(
  "int setsockopt(int fd, int level, int name, const uint8_t *v, uint32_t n)",
);
const sendto = call(
  "int64_t sendto(int fd, const uint8_t *b, size_t n, int f, const uint8_t *a, uint32_t l)",
);
const recvfrom = call(
  "int64_t recvfrom(int fd, _Out_ uint8_t *b, size_t n, int f, _Out_ uint8_t *a, _Inout_ uint32_t *l)",
);

/** CRC32c, as RFC 4960 appendix B wants it: little-endian over the packet with a zero in its place. */
function checksum(packet: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of packet) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}

interface Packet {
  readonly from: number;
  readonly to: number;
  readonly tag: number;
  readonly type: number;
  /** Of INIT and INIT ACK: the sender's own tag. */
  readonly initiate: number;
  readonly cookie: string;
}

function encode({ from, to, tag, type, initiate, cookie }: Packet): Buffer {
  const text = Buffer.from(cookie);
  const padded = Math.ceil(text.length / 4) * 4;
  const packet = Buffer.alloc(32 + (cookie === "" ? 0 : 4 + padded));
  packet.writeUInt16BE(from, 0);
  packet.writeUInt16BE(to, 2);
  packet.writeUInt32BE(tag, 4);
  packet.writeUInt8(type, 12);
  packet.writeUInt16BE(20 + (cookie === "" ? 0 : 4 + text.length), 14);
  packet.writeUInt32BE(initiate, 16);
  packet.writeUInt32BE(65_536, 20);
  packet.writeUInt16BE(1, 24);
  packet.writeUInt16BE(1, 26);
  packet.writeUInt32BE(1, 28);
  if (cookie !== "") {
    packet.writeUInt16BE(COOKIE, 32);
    packet.writeUInt16BE(4 + text.length, 34);
    text.copy(packet, 36);
  }
  packet.writeUInt32LE(checksum(packet), 8);
  return packet;
}

/** Undefined for what is damaged: a checksum that was not put right on the way counts, too. */
function decode(packet: Buffer): Packet | undefined {
  if (packet.length < 16) return undefined;
  const bare = Buffer.from(packet);
  bare.writeUInt32LE(0, 8);
  if (checksum(bare) !== packet.readUInt32LE(8)) return undefined;
  const cookie =
    packet.length > 36 ? packet.toString("utf8", 36, 32 + packet.readUInt16BE(34)) : "";
  return {
    from: packet.readUInt16BE(0),
    to: packet.readUInt16BE(2),
    tag: packet.readUInt32BE(4),
    type: packet.readUInt8(12),
    initiate: packet.length >= 20 ? packet.readUInt32BE(16) : 0,
    cookie,
  };
}

function open(family: number, timeoutS = 0): number {
  const fd = socket(family, SOCK_RAW, IPPROTO_SCTP);
  if (fd < 0) throw new Error("no raw socket");
  const wait = Buffer.alloc(16);
  wait.writeBigInt64LE(BigInt(timeoutS), 0);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, wait, wait.length);
  return fd;
}

function endpoint(address: string): Buffer {
  const ip = ipaddr.parse(address);
  const four = ip.kind() === "ipv4";
  const bytes = Buffer.alloc(four ? 16 : 28);
  bytes.writeUInt16LE(four ? AF_INET : AF_INET6, 0);
  bytes.set(ip.toByteArray(), four ? 4 : 8);
  return bytes;
}

/** Undefined when nothing came in time. */
function receive(fd: number, family: number): { packet?: Packet; sender: Buffer } | undefined {
  const [buffer, sender] = [Buffer.alloc(2048), Buffer.alloc(28)];
  const length = recvfrom(fd, buffer, buffer.length, 0, sender, [sender.length]);
  if (length < 0) return undefined;
  // A raw socket of IPv4 is given the header, too.
  const start = family === AF_INET ? ((buffer[0] ?? 0) & 15) * 4 : 0;
  const packet = decode(buffer.subarray(start, length));
  return packet === undefined ? { sender } : { packet, sender };
}

function nameOf(sender: Buffer, family: number): string {
  const bytes = family === AF_INET ? sender.subarray(4, 8) : sender.subarray(8, 24);
  return ipaddr.fromByteArray([...bytes]).toString();
}

function send(fd: number, packet: Packet, to: Buffer): void {
  // Raw sockets of IPv6 refuse a port in the address.
  to.writeUInt16BE(0, 2);
  const bytes = encode(packet);
  sendto(fd, bytes, bytes.length, 0, to, to.readUInt16LE(0) === AF_INET ? 16 : 28);
}

function serve(family: number, port: number, name: string): void {
  const fd = open(family);
  process.stdout.write("ready\n");
  for (;;) {
    const { packet, sender } = receive(fd, family) ?? {};
    if (packet === undefined || sender === undefined) continue;
    if (packet.to !== port || packet.type !== INIT) continue;
    const cookie = `${name} ${nameOf(sender, family)}`;
    const answer = { from: port, to: packet.from, tag: packet.initiate, type: INIT_ACK };
    send(fd, { ...answer, initiate: 7, cookie }, sender);
  }
}

function ask(address: string, port: number): string {
  const family = address.includes(":") ? AF_INET6 : AF_INET;
  const fd = open(family, TIMEOUT_S);
  const from = 20_000 + (process.pid % 30_000);
  const initiate = 1 + (process.pid & 0xffff);
  send(fd, { from, to: port, tag: 0, type: INIT, initiate, cookie: "" }, endpoint(address));
  const untilMs = Date.now() + TIMEOUT_S * 1000;
  while (Date.now() < untilMs) {
    const { packet } = receive(fd, family) ?? {};
    if (packet?.to !== from || packet.tag !== initiate) continue;
    if (packet.type === ABORT) return "refused";
    if (packet.type === INIT_ACK && packet.from === port) return packet.cookie;
  }
  return "nothing";
}

const [mode = "", ...args] = process.argv.slice(2);
if (mode === "client") process.stdout.write(ask(args[0] ?? "", Number(args[1])));
else serve(mode === "server6" ? AF_INET6 : AF_INET, Number(args[0]), args[1] ?? "");
