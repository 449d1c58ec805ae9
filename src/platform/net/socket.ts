/**
 * Sockets that Node cannot make: bound and nothing else, for reserving ports, and sockets in another
 * network namespace, whose descriptors Node then takes over. These calls of libc are synchronous and
 * short, so that a visit of the namespace has no wait in it.
 */

import { closeSync } from "node:fs";
import ipaddr from "ipaddr.js";
import koffi from "koffi";
import { EngineError, type ErrorCode } from "#base/error.ts";
import { runInNetnsOrHere } from "../netns/netns.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const IPPROTO_IP = 0;
const IPPROTO_SCTP = 132;
const IP_FREEBIND = 15;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const F_DUPFD_CLOEXEC = 1030;
const HIGH_NUMBERS = 4096;

interface SocketCalls {
  readonly socket: (domain: number, type: number, protocol: number) => number;
  readonly bind: (fd: number, address: Uint8Array, length: number) => number;
  readonly connect: (fd: number, address: Uint8Array, length: number) => number;
  readonly fcntl: (fd: number, command: number, value: number) => number;
  readonly setsockopt: (
    fd: number,
    level: number,
    name: number,
    value: Uint8Array,
    length: number,
  ) => number;
}

let loaded: SocketCalls | undefined;

function calls(): SocketCalls {
  if (loaded === undefined) {
    const library = koffi.load("libc.so.6");
    loaded = {
      socket: library.func(
        "int socket(int domain, int type, int protocol)",
      ) as SocketCalls["socket"],
      bind: library.func(
        "int bind(int fd, const uint8_t *address, uint32_t length)",
      ) as SocketCalls["bind"],
      connect: library.func(
        "int connect(int fd, const uint8_t *address, uint32_t length)",
      ) as SocketCalls["connect"],
      fcntl: library.func("int fcntl(int fd, int command, int value)") as SocketCalls["fcntl"],
      setsockopt: library.func(
        "int setsockopt(int fd, int level, int name, const uint8_t *value, uint32_t length)",
      ) as SocketCalls["setsockopt"],
    };
  }
  return loaded;
}

export interface Binding {
  readonly protocol: "tcp" | "udp" | "sctp";
  readonly address: string;
  readonly port: number;
}

export interface BindOptions {
  /** Path of the namespace that the socket shall be in. */
  readonly netns?: string | undefined;
  /** The address need not be there yet (IPv4). */
  readonly freeBind?: boolean;
}

/**
 * A bound descriptor, for `closeSocket`; `already-exists` when the port is taken, `not-found` when the
 * address is not this host's, `unimplemented` for SCTP on a kernel that has none.
 */
export function bindSocket(binding: Binding, options: BindOptions = {}): number {
  const { bind, setsockopt } = calls();
  const address = socketAddress(binding);
  return inNamespace(binding, options.netns, SOCK_CLOEXEC, (fd) => {
    if (address.length > 16) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, ONE, ONE.length);
    if (options.freeBind) setsockopt(fd, IPPROTO_IP, IP_FREEBIND, ONE, ONE.length);
    if (bind(fd, address, address.length) !== 0) throw failure("bind", binding);
  });
}

/**
 * The descriptor of a TCP connection that is under way, in the namespace at `netns`: who takes it
 * over may write at once, and hears of a failure by an error of the stream.
 */
export function connectSocket(target: Omit<Binding, "protocol">, netns?: string): number {
  const binding = { ...target, protocol: "tcp" } as const;
  const address = socketAddress(binding);
  return inNamespace(binding, netns, SOCK_CLOEXEC | SOCK_NONBLOCK, (fd) => {
    if (calls().connect(fd, address, address.length) === 0) return;
    if (koffi.errno() !== koffi.os.errno.EINPROGRESS) throw failure("connect", binding);
  });
}

const ONE = new Uint8Array(new Int32Array([1]).buffer);

function inNamespace(
  binding: Binding,
  netns: string | undefined,
  flags: number,
  prepare: (fd: number) => void,
): number {
  const type = binding.protocol === "udp" ? SOCK_DGRAM : SOCK_STREAM;
  const protocol = binding.protocol === "sctp" ? IPPROTO_SCTP : 0;
  const family = binding.address.includes(":") ? AF_INET6 : AF_INET;
  return runInNetnsOrHere(netns, () => {
    const fd = calls().socket(family, type | flags, protocol);
    if (fd < 0) throw failure("socket", binding);
    try {
      prepare(fd);
      return fd;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  });
}

/**
 * The same as `bindSocket`, for a socket that only holds its port: it is given a high number, because
 * there may be thousands, and libraries that use `select` need the low ones.
 */
export function holdSocket(binding: Binding): number {
  const fd = bindSocket(binding);
  const high = calls().fcntl(fd, F_DUPFD_CLOEXEC, HIGH_NUMBERS);
  // The process may not have so many.
  if (high < 0) return fd;
  closeSync(fd);
  return high;
}

export function closeSocket(fd: number): void {
  closeSync(fd);
}

/** struct sockaddr_in or sockaddr_in6. */
function socketAddress({ address, port }: Binding): Uint8Array {
  if (!ipaddr.isValid(address)) {
    throw new EngineError("invalid-argument", `invalid IP address: ${address}`);
  }
  const ip = ipaddr.parse(address);
  const four = ip.kind() === "ipv4";
  const bytes = new Uint8Array(four ? 16 : 28);
  const view = new DataView(bytes.buffer);
  const littleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
  view.setUint16(0, four ? AF_INET : AF_INET6, littleEndian);
  view.setUint16(2, port);
  bytes.set(ip.toByteArray(), four ? 4 : 8);
  return bytes;
}

const CODES: Readonly<Record<string, ErrorCode>> = {
  EADDRINUSE: "already-exists",
  EADDRNOTAVAIL: "not-found",
  EPROTONOSUPPORT: "unimplemented",
};

function failure(call: string, { address, port, protocol }: Binding): EngineError {
  const errno = koffi.errno();
  const name = Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0];
  return new EngineError(
    CODES[name ?? ""] ?? "failed-precondition",
    `${call} ${protocol} ${address}:${port}: ${name ?? errno}`,
  );
}
