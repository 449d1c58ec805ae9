/**
 * Sockets that are bound and nothing else, for reserving ports. Node can only bind and listen at
 * once; these calls of libc are synchronous and short.
 */

import { closeSync } from "node:fs";
import ipaddr from "ipaddr.js";
import koffi from "koffi";
import { EngineError } from "#base/error.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;

interface SocketCalls {
  readonly socket: (domain: number, type: number, protocol: number) => number;
  readonly bind: (fd: number, address: Uint8Array, length: number) => number;
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
      setsockopt: library.func(
        "int setsockopt(int fd, int level, int name, const uint8_t *value, uint32_t length)",
      ) as SocketCalls["setsockopt"],
    };
  }
  return loaded;
}

export interface Binding {
  readonly protocol: "tcp" | "udp";
  readonly address: string;
  readonly port: number;
}

/** A bound descriptor, for `closeSocket`; throws when the port is taken or the address not ours. */
export function bindSocket(binding: Binding): number {
  const { socket, bind, setsockopt } = calls();
  const address = socketAddress(binding);
  const type = binding.protocol === "tcp" ? SOCK_STREAM : SOCK_DGRAM;
  const six = address.length > 16;
  const fd = socket(six ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0);
  if (fd < 0) throw failure("socket", binding);
  const one = new Uint8Array(new Int32Array([1]).buffer);
  if (six) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, one, one.length);
  if (bind(fd, address, address.length) === 0) return fd;
  const error = failure("bind", binding);
  closeSync(fd);
  throw error;
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

function failure(call: string, { address, port, protocol }: Binding): EngineError {
  const errno = koffi.errno();
  const name = Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0];
  return new EngineError(
    name === "EADDRINUSE" ? "already-exists" : "failed-precondition",
    `${call} ${protocol} ${address}:${port}: ${name ?? errno}`,
  );
}
