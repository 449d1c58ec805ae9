/** A bound datagram socket in the file system, which Node cannot make, that collects what it is sent. */

import { closeSync, unlinkSync } from "node:fs";
import koffi from "koffi";

const AF_UNIX = 1;
const SOCK_DGRAM_NONBLOCK = 2 | 0o4000;

const libc = koffi.load("libc.so.6");
const socket = libc.func("int socket(int domain, int type, int protocol)") as (
  ...words: number[]
) => number;
const bind = libc.func("int bind(int fd, const uint8_t *address, uint32_t length)") as (
  fd: number,
  address: Uint8Array,
  length: number,
) => number;
const receive = libc.func(
  "int64_t recv(int fd, _Out_ uint8_t *data, size_t length, int flags)",
) as (fd: number, data: Uint8Array, length: number, flags: number) => number;

export class UnixReceiver {
  readonly messages: string[] = [];
  readonly #fd: number;
  readonly #path: string;
  readonly #timer: NodeJS.Timeout;

  constructor(path: string) {
    this.#path = path;
    this.#fd = socket(AF_UNIX, SOCK_DGRAM_NONBLOCK, 0);
    const address = Buffer.alloc(110);
    address.writeUInt16LE(AF_UNIX);
    address.write(path, 2);
    if (bind(this.#fd, address, 2 + path.length + 1) !== 0) throw new Error(`cannot bind ${path}`);
    this.#timer = setInterval(() => this.#read(), 10);
  }

  close(): void {
    clearInterval(this.#timer);
    closeSync(this.#fd);
    unlinkSync(this.#path);
  }

  #read(): void {
    const buffer = Buffer.alloc(65_536);
    for (;;) {
      const size = receive(this.#fd, buffer, buffer.length, 0);
      if (size < 0) return;
      this.messages.push(buffer.subarray(0, size).toString());
    }
  }
}
