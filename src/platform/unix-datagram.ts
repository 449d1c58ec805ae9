/**
 * Sending to a datagram socket in the file system (/dev/log, the journal), which Node cannot: one
 * call of libc per message, which never waits. Without a receiver, or with one that is behind, the
 * caller is told.
 */

import { closeSync } from "node:fs";
import koffi from "koffi";
import { SystemError } from "./libc.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const MSG_NOSIGNAL = 0x4000;
const PATH_MAX_BYTES = 107;

interface Calls {
  readonly socket: (domain: number, type: number, protocol: number) => number;
  readonly connect: (fd: number, address: Uint8Array, length: number) => number;
  readonly send: (fd: number, data: Uint8Array, length: number, flags: number) => number;
}

let loaded: Calls | undefined;

function calls(): Calls {
  if (loaded === undefined) {
    const library = koffi.load("libc.so.6");
    loaded = {
      socket: library.func("int socket(int domain, int type, int protocol)") as Calls["socket"],
      connect: library.func(
        "int connect(int fd, const uint8_t *address, uint32_t length)",
      ) as Calls["connect"],
      send: library.func(
        "int64_t send(int fd, const uint8_t *data, size_t length, int flags)",
      ) as Calls["send"],
    };
  }
  return loaded;
}

export class UnixDatagram {
  readonly #path: string;
  readonly #fd: number;

  private constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
  }

  /** Throws `SystemError` (ENOENT, ECONNREFUSED) when nobody listens. */
  static connect(path: string): UnixDatagram {
    const fd = calls().socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) throw failure("socket", path);
    const name = Buffer.from(path);
    if (name.length > PATH_MAX_BYTES) {
      closeSync(fd);
      throw new SystemError("connect", path, "ENAMETOOLONG");
    }
    const address = Buffer.alloc(2 + PATH_MAX_BYTES + 1);
    new Uint16Array(address.buffer, address.byteOffset, 1)[0] = AF_UNIX;
    name.copy(address, 2);
    if (calls().connect(fd, address, 2 + name.length + 1) !== 0) {
      const error = failure("connect", path);
      closeSync(fd);
      throw error;
    }
    return new UnixDatagram(path, fd);
  }

  /** False when the receiver is behind: try again later. Throws when there is none any more. */
  send(message: Uint8Array): boolean {
    if (calls().send(this.#fd, message, message.length, MSG_NOSIGNAL) >= 0) return true;
    const error = failure("send", this.#path);
    if (error.errno === "EAGAIN" || error.errno === "ENOBUFS") return false;
    throw error;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function failure(call: string, path: string): SystemError {
  const errno = koffi.errno();
  const name = Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0];
  return new SystemError(call, path, name ?? `errno ${errno}`);
}
