/**
 * The number that the kernel gives each state of a namespace's nftables: every transaction, whoever's,
 * makes a new one. Asking for it takes some microseconds where a listing takes milliseconds, so that
 * who has seen a ruleset knows at no cost that it is still the same.
 */

import { closeSync } from "node:fs";
import { EngineError } from "#base/error.ts";
import { runInNetnsOrHere } from "../netns/netns.ts";
import { MSG_DONTWAIT, netlinkCalls, netlinkSocket } from "./netlink.ts";

const NETLINK_NETFILTER = 12;
const NLM_F_REQUEST = 1;
/** Subsystem nftables (10), message "get generation" (16) and its answer (15). */
const GET = 0x0a10;
const NEW = 0x0a0f;
const ATTRIBUTE_ID = 1;
/** struct nlmsghdr and struct nfgenmsg. */
const HEADER_BYTES = 20;

export class NftGeneration {
  readonly #buffer = new Uint8Array(256);
  #fd: number;

  /** Of the namespace at `netns`, or the engine's own. */
  constructor(netns?: string) {
    this.#fd = runInNetnsOrHere(netns, () => netlinkSocket(NETLINK_NETFILTER));
    if (this.#fd < 0) throw new EngineError("internal", "no netlink socket for nftables");
  }

  /** The kernel answers before `send` returns, without waiting for anybody. */
  read(): number {
    const request = encodeRequest();
    const { send, recv } = netlinkCalls();
    if (send(this.#fd, request, request.length, 0) === request.length) {
      const size = recv(this.#fd, this.#buffer, this.#buffer.length, MSG_DONTWAIT);
      const id = parseGeneration(this.#buffer.subarray(0, Math.max(size, 0)));
      if (id !== undefined) return id;
    }
    throw new EngineError("internal", "the kernel does not tell the generation of nftables");
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }
}

const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

function encodeRequest(): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, HEADER_BYTES, LITTLE_ENDIAN);
  view.setUint16(4, GET, LITTLE_ENDIAN);
  view.setUint16(6, NLM_F_REQUEST, LITTLE_ENDIAN);
  return bytes;
}

/** Undefined for what is no answer. */
export function parseGeneration(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < HEADER_BYTES || view.getUint16(4, LITTLE_ENDIAN) !== NEW) return undefined;
  const end = Math.min(view.getUint32(0, LITTLE_ENDIAN), bytes.length);
  for (let at = HEADER_BYTES; at + 8 <= end; ) {
    const length = view.getUint16(at, LITTLE_ENDIAN);
    if (length < 4) return undefined;
    // Values are in network order.
    if (view.getUint16(at + 2, LITTLE_ENDIAN) === ATTRIBUTE_ID) return view.getUint32(at + 4);
    at += (length + 3) & ~3;
  }
  return undefined;
}
