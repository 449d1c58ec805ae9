/** Netlink sockets by libc: Node has none. A socket belongs to the namespace that it was opened in. */

import koffi from "koffi";

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
/** Flag of `recv`: what is not in the socket yet is not waited for. */
export const MSG_DONTWAIT = 0x40;

export interface NetlinkCalls {
  readonly socket: (domain: number, type: number, protocol: number) => number;
  readonly setsockopt: (
    fd: number,
    level: number,
    name: number,
    value: Uint8Array,
    length: number,
  ) => number;
  readonly send: {
    (fd: number, bytes: Uint8Array, length: number, flags: number): number;
    /** On a thread of the pool. */
    async(
      fd: number,
      bytes: Uint8Array,
      length: number,
      flags: number,
      done: (error: Error | null, sent: number) => void,
    ): void;
  };
  readonly recv: (fd: number, bytes: Uint8Array, length: number, flags: number) => number;
  readonly if_nametoindex: (name: string) => number;
}

let loaded: NetlinkCalls | undefined;

export function netlinkCalls(): NetlinkCalls {
  if (loaded === undefined) {
    const library = koffi.load("libc.so.6");
    const bind = (declaration: string): unknown => library.func(declaration);
    loaded = {
      socket: bind("int socket(int domain, int type, int protocol)"),
      setsockopt: bind(
        "int setsockopt(int fd, int level, int name, const uint8_t *value, uint32_t length)",
      ),
      send: bind("int64_t send(int fd, const uint8_t *bytes, size_t length, int flags)"),
      recv: bind("int64_t recv(int fd, _Out_ uint8_t *bytes, size_t length, int flags)"),
      if_nametoindex: bind("unsigned int if_nametoindex(const char *name)"),
    } as NetlinkCalls;
  }
  return loaded;
}

/** The descriptor, in the namespace of the calling thread; negative where there is none. */
export function netlinkSocket(protocol: number): number {
  return netlinkCalls().socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
}
