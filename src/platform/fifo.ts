/**
 * FIFOs as streams driven by epoll: no pool thread waits in a read. The read end is opened without
 * blocking while a keeper holds a write end, so that it does not see an end of file before the real
 * writer has come; once that is there, `release` drops the keeper, and the end of file of the reader
 * is the writer's.
 */

import { closeSync, constants, openSync } from "node:fs";
import { Socket } from "node:net";
import { EngineError, messageOf } from "#base/error.ts";
import { mkfifo, SystemError } from "./libc.ts";

/** Makes the FIFO, or takes the one that is there. */
export function ensureFifo(path: string): void {
  try {
    mkfifo(path, 0o600);
  } catch (error) {
    if (!(error instanceof SystemError && error.errno === "EEXIST")) throw error;
  }
}

export interface FifoReader {
  readonly socket: Socket;
  /** The writer is there: from now on its end is the reader's end of file. */
  release(): void;
}

/** `awaitWriter`: hold the FIFO open until `release`; else only writers that are there count. */
export function openFifoReader(path: string, awaitWriter: boolean): FifoReader {
  let keeper = awaitWriter ? openSync(path, constants.O_RDWR | constants.O_NONBLOCK) : -1;
  const release = () => {
    if (keeper >= 0) closeSync(keeper);
    keeper = -1;
  };
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const socket = new Socket({ fd, readable: true, writable: false });
    socket.once("close", release);
    return { socket, release };
  } catch (error) {
    release();
    throw error;
  }
}

/** The write end; `unavailable` when nobody has the read end open. */
export function openFifoWriter(path: string): Socket {
  let fd: number;
  try {
    fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw new EngineError("unavailable", `cannot open ${path}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  return new Socket({ fd, readable: false, writable: true });
}
