/**
 * The kernel's route netlink without a program in between: a call is some ten microseconds where a
 * fork of `ip` is several milliseconds. A socket belongs to the namespace that it was opened in.
 *
 * The kernel works while the caller is inside `send`, and may wait there for others: that happens on
 * a pool thread. All acknowledgements are in the socket when it returns. One call at a time in the
 * whole process: the kernel has one lock for all of them anyway, and waiting for it in several
 * threads would starve the pool.
 */

import { closeSync } from "node:fs";
import koffi from "koffi";
import { EngineError } from "#base/error.ts";
import { invariant } from "#base/invariant.ts";
import { type NetlinkAck, type NetlinkRequest, packRequests, parseAcks } from "#wire/rtnetlink.ts";
import { Semaphore } from "../async.ts";
import { MSG_DONTWAIT, netlinkCalls, netlinkSocket } from "./netlink.ts";

export interface RouteSocket {
  /** Carries out requests in order, all of them; rejects with the first refusal. */
  run(requests: readonly NetlinkRequest[]): Promise<void>;
  /** The same for what may not be there any more: refusals are passed over. */
  runForce(requests: readonly NetlinkRequest[]): Promise<void>;
  close(): void;
}

const NETLINK_ROUTE = 0;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
/** What is waiting in the socket is bounded by what is asked at once. */
const REQUESTS_MAX = 64;
const RECEIVE_BYTES = 16 * 1024;

const turn = new Semaphore(1);

/** In the namespace of the calling thread: wrap in `runInNetns` for another. */
export function openRouteSocket(): RouteSocket {
  const { setsockopt } = netlinkCalls();
  const fd = netlinkSocket(NETLINK_ROUTE);
  if (fd < 0) {
    throw new EngineError("internal", `no netlink socket: ${errnoName(koffi.errno())}`);
  }
  const on = new Uint8Array(new Int32Array([1]).buffer);
  // Older kernels lack these; then refusals come without an explanation.
  setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, on, on.length);
  setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, on, on.length);
  return new Socket(fd);
}

/** Index of an interface in the namespace of the calling thread. */
export function interfaceIndex(name: string): number {
  const index = netlinkCalls().if_nametoindex(name);
  if (index === 0) throw new EngineError("internal", `there is no interface ${name}`);
  return index;
}

/** Whether there is such an interface in the namespace of the calling thread. */
export function hasInterface(name: string): boolean {
  return netlinkCalls().if_nametoindex(name) !== 0;
}

class Socket implements RouteSocket {
  readonly #buffer = new Uint8Array(RECEIVE_BYTES);
  #fd: number;
  #sequence = 1;

  constructor(fd: number) {
    this.#fd = fd;
  }

  async run(requests: readonly NetlinkRequest[]): Promise<void> {
    const refused = await this.#transact(requests);
    const [first] = refused;
    if (first === undefined) return;
    const { request, ack } = first;
    const reason =
      ack.message === "" ? errnoName(ack.errno) : `${errnoName(ack.errno)}: ${ack.message}`;
    throw new EngineError("internal", `ip ${request.what}: ${reason}`);
  }

  async runForce(requests: readonly NetlinkRequest[]): Promise<void> {
    await this.#transact(requests);
  }

  close(): void {
    const fd = this.#fd;
    this.#fd = -1;
    // After the call under way: the number would be somebody else's descriptor beneath it.
    if (fd >= 0) void turn.run(() => Promise.resolve(closeSync(fd)));
  }

  #transact(requests: readonly NetlinkRequest[]): Promise<readonly Refusal[]> {
    invariant(requests.length <= REQUESTS_MAX, "too many netlink requests at once");
    if (requests.length === 0) return Promise.resolve([]);
    return turn.run(async () => {
      if (this.#fd < 0) throw new EngineError("cancelled", "the netlink socket is closed");
      const first = this.#sequence;
      this.#sequence += requests.length;
      await send(this.#fd, packRequests(requests, first));
      return this.#answers(requests, first);
    });
  }

  #answers(requests: readonly NetlinkRequest[], first: number): readonly Refusal[] {
    const refusals: Refusal[] = [];
    for (let answered = 0; answered < requests.length; ) {
      const size = netlinkCalls().recv(this.#fd, this.#buffer, this.#buffer.length, MSG_DONTWAIT);
      if (size <= 0) {
        throw new EngineError("internal", `netlink does not answer: ${errnoName(koffi.errno())}`);
      }
      for (const ack of parseAcks(this.#buffer.subarray(0, size))) {
        const request = requests[ack.sequence - first];
        if (request === undefined) continue;
        answered += 1;
        if (ack.errno !== 0) refusals.push({ request, ack });
      }
    }
    return refusals;
  }
}

interface Refusal {
  readonly request: NetlinkRequest;
  readonly ack: NetlinkAck;
}

function send(fd: number, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    netlinkCalls().send.async(fd, bytes, bytes.length, 0, (error, sent) => {
      if (error !== null) reject(error);
      else if (sent === bytes.length) resolve();
      else reject(new EngineError("internal", "netlink does not take the requests"));
    });
  });
}

function errnoName(errno: number): string {
  const name = Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0];
  return name ?? `error ${errno}`;
}
