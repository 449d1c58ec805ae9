/**
 * One HTTP/2 connection (RFC 9113), either side of it: frames in and out of a socket, streams, flow
 * control. Node's own costs a hundred small objects and several crossings into native code for each
 * stream, which a manager that answers thousands of calls per second cannot afford.
 *
 * Invariants: what the other side can make this one keep is bounded: windows, header lists, streams
 * at once, answers to its pings; who breaks the protocol loses the connection. Data waits in its
 * stream while the socket is backlogged, never behind it.
 */

import type { Socket } from "node:net";
import { type Frame, FrameReader } from "#wire/http2/frame-reader.ts";
import {
  CODE,
  FLAG,
  FRAME,
  FRAME_HEAD_BYTES,
  FRAME_MAX_BYTES,
  frame,
  goawayFrame,
  numberFrame,
  PREFACE,
  putHead,
  SETTING,
  STREAM_ID_MAX,
  settingsFrame,
  uint31At,
  uint32At,
  WINDOW_DEFAULT,
  WINDOW_MAX,
} from "#wire/http2/frames.ts";
import { type HeaderField, HeaderReader } from "#wire/http2/hpack.ts";
import { Output } from "./output.ts";
import { STREAM_WINDOW, Stream, type StreamEvents, type StreamPort } from "./stream.ts";

/**
 * After this silence the kernel asks whether the other host is still there: gRPC's own pings are
 * refused by servers in Go when they come more often than every five minutes.
 */
export const KEEPALIVE_MS = 10_000;
/** Bytes that the other side may send on all streams together before we have looked at some. */
const CONNECTION_WINDOW = 16 * 1024 * 1024;
const HEADER_LIST_MAX = 16 * 1024;
/** Answers to pings and settings that wait for the other side to read. */
const ANSWERS_MAX = 1_000;
/** For the last words of a connection, milliseconds. */
const LINGER_MS = 500;
const EMPTY = new Uint8Array(0);

export interface ConnectionOptions {
  readonly socket: Socket;
  readonly side: "client" | "server";
  /** Streams that the other side may have open at once; of servers. */
  readonly streamsMax?: number;
  /** The other side opened a stream; of servers. Undefined refuses it. */
  readonly opened?: (
    stream: Stream,
    fields: readonly HeaderField[],
    isLast: boolean,
  ) => StreamEvents | undefined;
  /** The other side has said how it wants to be spoken to: the connection stands. */
  readonly settled?: () => void;
  /** More streams may be opened than before. */
  readonly roomier?: () => void;
  /** No more streams may be opened. */
  readonly retiring?: () => void;
  readonly closed?: (reason: string) => void;
  /** Who is at the other end, for what is said of the connection's loss. */
  readonly peer?: string;
}

/** A breach of the protocol that ends the connection. */
class Breach extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #socket: Socket;
  readonly #isServer: boolean;
  readonly #output: Output;
  readonly #reader = new HeaderReader(HEADER_LIST_MAX);
  readonly #streams = new Map<number, Stream>();
  /** Streams with data that may not go out yet, in the order of their turns. */
  readonly #blocked = new Set<Stream>();
  readonly #port: StreamPort;
  readonly #frames: FrameReader;
  #isSettled = false;
  #isClosed = false;
  #isRetiring = false;
  /** Highest stream of the other side, or of ours on the client's side. */
  #lastStream: number;
  #sendWindow = WINDOW_DEFAULT;
  #initialWindow = WINDOW_DEFAULT;
  #frameMax = FRAME_MAX_BYTES;
  #peerStreamsMax = Number.POSITIVE_INFINITY;
  #receiveWindow = CONNECTION_WINDOW;
  #answers = 0;

  constructor(options: ConnectionOptions) {
    const { socket, side } = options;
    this.#options = options;
    this.#socket = socket;
    this.#isServer = side === "server";
    this.#frames = new FrameReader(this.#isServer);
    this.#lastStream = this.#isServer ? 0 : -1;
    this.#output = new Output(socket, () => this.#pump());
    this.#port = {
      allowance: (wanted) =>
        this.#output.isBacklogged ? 0 : Math.min(wanted, Math.max(this.#sendWindow, 0)),
      putHeaders: (stream, block, isLast) => this.#putHeaders(stream, block, isLast),
      putData: (stream, bytes, isLast) => this.#putData(stream, bytes, isLast),
      putReset: (stream, code) => this.#output.write(numberFrame(FRAME.RST_STREAM, stream, code)),
      putCredit: (stream, bytes) =>
        this.#output.write(numberFrame(FRAME.WINDOW_UPDATE, stream, bytes)),
      blocked: (stream) => this.#blocked.add(stream),
      over: (stream) => this.#over(stream),
    };
    this.#greet();
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("drain", () => this.#pump());
    socket.on("error", () => undefined);
    const { peer } = options;
    const whose = peer === undefined ? "" : ` to ${peer}`;
    socket.on("close", () => this.#lost(`the connection${whose} was closed`));
  }

  /** Whether a stream can be opened now; of clients. */
  get hasRoom(): boolean {
    return !this.isRetiring && this.#isSettled && this.#streams.size < this.#peerStreamsMax;
  }

  /** Whether no stream can be opened any more. */
  get isRetiring(): boolean {
    return this.#isRetiring || this.#isClosed;
  }

  get openStreams(): number {
    return this.#streams.size;
  }

  /** Opens a stream and says the first header fields; of clients, where there is room. */
  open(block: Uint8Array, isLast: boolean, events: StreamEvents): Stream {
    this.#lastStream += 2;
    const stream = new Stream(this.#lastStream, this.#initialWindow, this.#port);
    stream.events = events;
    this.#streams.set(stream.id, stream);
    if (stream.id + 2 > STREAM_ID_MAX) this.#retire();
    stream.sendHeaders(block, isLast);
    return stream;
  }

  /**
   * A whole answer at once: `head` and `tail` are header blocks, between them one message of
   * `size` bytes that `fill` writes. False, and nothing is done, where it does not fit.
   */
  answer(
    stream: Stream,
    head: Uint8Array,
    size: number,
    fill: (bytes: Uint8Array, at: number) => void,
    tail: Uint8Array,
  ): boolean {
    if (size > FRAME_MAX_BYTES || !stream.mayPut(size)) return false;
    const { id } = stream;
    const total = 3 * FRAME_HEAD_BYTES + head.length + size + tail.length;
    let at = this.#output.reserve(total);
    const { bytes } = this.#output;
    putHead(bytes, at, head.length, FRAME.HEADERS, FLAG.END_HEADERS, id);
    at += FRAME_HEAD_BYTES;
    bytes.set(head, at);
    at += head.length;
    putHead(bytes, at, size, FRAME.DATA, 0, id);
    at += FRAME_HEAD_BYTES;
    fill(bytes, at);
    at += size;
    putHead(bytes, at, tail.length, FRAME.HEADERS, FLAG.END_HEADERS | FLAG.END_STREAM, id);
    bytes.set(tail, at + FRAME_HEAD_BYTES);
    this.#sendWindow -= size;
    stream.localDone();
    return true;
  }

  /** Asks the other side to open no more streams here; of servers. Those that are open go on. */
  announceEnd(): void {
    if (this.#isClosed) return;
    this.#output.write(goawayFrame(this.#lastStream, CODE.NO_ERROR));
  }

  /** Ends the connection and all its streams. */
  close(reason: string, code: number = CODE.NO_ERROR): void {
    if (this.#isClosed) return;
    this.#output.write(goawayFrame(this.#isServer ? this.#lastStream : 0, code));
    this.#output.flush();
    this.#lost(reason);
    // What was just written is still sent, to whom reads it soon.
    this.#socket.destroySoon();
    const socket = this.#socket;
    if (socket.writableLength === 0) return;
    const linger = setTimeout(() => socket.destroy(), LINGER_MS);
    socket.once("close", () => clearTimeout(linger));
  }

  #greet(): void {
    if (!this.#isServer) this.#output.write(PREFACE);
    this.#output.write(
      settingsFrame([
        [SETTING.INITIAL_WINDOW_SIZE, STREAM_WINDOW],
        [SETTING.MAX_HEADER_LIST_SIZE, HEADER_LIST_MAX],
        this.#isServer
          ? [SETTING.MAX_CONCURRENT_STREAMS, this.#options.streamsMax ?? 100]
          : [SETTING.ENABLE_PUSH, 0],
      ]),
    );
    const credit = CONNECTION_WINDOW - WINDOW_DEFAULT;
    this.#output.write(numberFrame(FRAME.WINDOW_UPDATE, 0, credit));
  }

  #lost(reason: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const stream of this.#streams.values()) stream.break(undefined, reason);
    this.#blocked.clear();
    this.#options.closed?.(reason);
  }

  #take(chunk: Buffer): void {
    if (this.#isClosed) return;
    this.#frames.push(chunk);
    try {
      for (let next = this.#frames.next(); next !== undefined; next = this.#frames.next()) {
        if (next.kind === "breach") throw new Breach(next.code, next.message);
        this.#frame(next);
        if (this.#isClosed) return;
      }
    } catch (error) {
      if (!(error instanceof Breach)) throw error;
      this.close(error.message, error.code);
    }
  }

  #frame(frame: Frame): void {
    const { type, flags, stream: id, payload } = frame;
    if (!this.#isSettled && type !== FRAME.SETTINGS) {
      throw new Breach(CODE.PROTOCOL_ERROR, "the first frame is not SETTINGS");
    }
    switch (type) {
      case FRAME.DATA:
        return this.#onData(frame);
      case FRAME.HEADERS:
        return this.#onHeaders(frame);
      case FRAME.RST_STREAM:
        return this.#onReset(id, payload);
      case FRAME.SETTINGS:
        return this.#onSettings(flags, id, payload);
      case FRAME.PING:
        return this.#onPing(flags, id, payload);
      case FRAME.GOAWAY:
        return this.#onGoaway(payload);
      case FRAME.WINDOW_UPDATE:
        return this.#onCredit(id, payload);
      case FRAME.PUSH_PROMISE:
        throw new Breach(CODE.PROTOCOL_ERROR, "nobody asked for pushes");
      default:
        // PRIORITY, and what later versions add, is of no concern.
        return undefined;
    }
  }

  #onData({ flags, stream: id, payload, size }: Frame): void {
    const stream = this.#known(id);
    this.#receiveWindow -= size;
    if (this.#receiveWindow < 0) throw new Breach(CODE.FLOW_CONTROL_ERROR, "too much data");
    if (this.#receiveWindow * 2 < CONNECTION_WINDOW) {
      const credit = CONNECTION_WINDOW - this.#receiveWindow;
      this.#receiveWindow = CONNECTION_WINDOW;
      this.#output.write(numberFrame(FRAME.WINDOW_UPDATE, 0, credit));
    }
    // What was on its way when a stream ended is dropped.
    if (stream === undefined) return;
    if (stream.isRemoteDone) throw new Breach(CODE.STREAM_CLOSED, "data after the end of a stream");
    stream.receiveWindow -= size;
    if (stream.receiveWindow < 0) throw new Breach(CODE.FLOW_CONTROL_ERROR, "too much data");
    const isLast = (flags & FLAG.END_STREAM) !== 0;
    if (payload.length < size) stream.consumed(size - payload.length);
    if (isLast) stream.remoteDone();
    stream.events?.data(payload, isLast);
  }

  #onHeaders({ flags, stream: id, payload }: Frame): void {
    const isLast = (flags & FLAG.END_STREAM) !== 0;
    const read = this.#reader.read(payload);
    if (!read.ok) throw new Breach(CODE.COMPRESSION_ERROR, read.error);
    const fields = read.value;
    const isNew = this.#isServer && id > this.#lastStream;
    if (isNew) return this.#accept(id, fields, isLast);
    const stream = this.#known(id);
    if (stream === undefined) return;
    if (stream.isRemoteDone) throw new Breach(CODE.STREAM_CLOSED, "headers after the end");
    if (isLast) stream.remoteDone();
    stream.events?.headers(fields, isLast);
  }

  #accept(id: number, fields: readonly HeaderField[], isLast: boolean): void {
    if (id % 2 === 0) throw new Breach(CODE.PROTOCOL_ERROR, "a stream with a number of ours");
    this.#lastStream = id;
    const { opened, streamsMax = 100 } = this.#options;
    const stream = new Stream(id, this.#initialWindow, this.#port);
    if (this.#streams.size >= streamsMax) return stream.reset(CODE.REFUSED_STREAM);
    this.#streams.set(id, stream);
    if (isLast) stream.remoteDone();
    stream.events = opened?.(stream, fields, isLast);
    if (stream.events === undefined) stream.reset(CODE.REFUSED_STREAM);
  }

  #onReset(id: number, payload: Uint8Array): void {
    if (payload.length !== 4) throw new Breach(CODE.FRAME_SIZE_ERROR, "RST_STREAM has a length");
    this.#known(id)?.break(uint32At(payload, 0), "the other side ended the call");
  }

  #onSettings(flags: number, id: number, payload: Uint8Array): void {
    if (id !== 0) throw new Breach(CODE.PROTOCOL_ERROR, "settings of a stream");
    if ((flags & FLAG.ACK) !== 0) return;
    if (payload.length % 6 !== 0) throw new Breach(CODE.FRAME_SIZE_ERROR, "settings are cut off");
    for (let at = 0; at < payload.length; at += 6) {
      this.#set((payload[at] ?? 0) * 256 + (payload[at + 1] ?? 0), uint32At(payload, at + 2));
    }
    this.#respond(frame(FRAME.SETTINGS, FLAG.ACK, 0, EMPTY));
    const isFirst = !this.#isSettled;
    this.#isSettled = true;
    if (isFirst) this.#options.settled?.();
    this.#pump();
    this.#options.roomier?.();
  }

  #set(setting: number, value: number): void {
    if (setting === SETTING.MAX_CONCURRENT_STREAMS) this.#peerStreamsMax = value;
    if (setting === SETTING.MAX_FRAME_SIZE) {
      const isFit = value >= FRAME_MAX_BYTES && value < 2 ** 24;
      if (!isFit) throw new Breach(CODE.PROTOCOL_ERROR, "frames of an impossible size");
      this.#frameMax = Math.min(value, 4 * FRAME_MAX_BYTES);
    }
    if (setting === SETTING.INITIAL_WINDOW_SIZE) {
      if (value > WINDOW_MAX) throw new Breach(CODE.FLOW_CONTROL_ERROR, "an impossible window");
      for (const stream of this.#streams.values()) stream.sendWindow += value - this.#initialWindow;
      this.#initialWindow = value;
    }
  }

  #onPing(flags: number, id: number, payload: Uint8Array): void {
    if (id !== 0) throw new Breach(CODE.PROTOCOL_ERROR, "a ping of a stream");
    if (payload.length !== 8) throw new Breach(CODE.FRAME_SIZE_ERROR, "a ping has a length");
    if ((flags & FLAG.ACK) === 0) this.#respond(frame(FRAME.PING, FLAG.ACK, 0, payload));
  }

  /** Answers what the other side can ask without end, as long as it reads the answers. */
  #respond(bytes: Uint8Array): void {
    this.#answers = this.#socket.writableLength === 0 ? 0 : this.#answers + 1;
    if (this.#answers > ANSWERS_MAX) {
      throw new Breach(CODE.ENHANCE_YOUR_CALM, "more questions than answers are read");
    }
    this.#output.write(bytes);
  }

  #onGoaway(payload: Uint8Array): void {
    if (payload.length < 8) throw new Breach(CODE.FRAME_SIZE_ERROR, "GOAWAY is cut off");
    const last = uint31At(payload, 0);
    this.#retire();
    if (this.#isServer) return;
    for (const stream of this.#streams.values()) {
      if (stream.id > last) stream.break(CODE.REFUSED_STREAM, "the server is going away");
    }
    this.#endIfDone();
  }

  #onCredit(id: number, payload: Uint8Array): void {
    if (payload.length !== 4) throw new Breach(CODE.FRAME_SIZE_ERROR, "a credit has a length");
    const credit = uint31At(payload, 0);
    if (credit === 0) throw new Breach(CODE.PROTOCOL_ERROR, "a credit of nothing");
    if (id === 0) {
      this.#sendWindow += credit;
      if (this.#sendWindow > WINDOW_MAX) throw new Breach(CODE.FLOW_CONTROL_ERROR, "a wide window");
      this.#pump();
      return;
    }
    const stream = this.#known(id);
    if (stream === undefined) return;
    stream.sendWindow += credit;
    if (stream.sendWindow > WINDOW_MAX) return stream.reset(CODE.FLOW_CONTROL_ERROR);
    if (this.#blocked.delete(stream)) stream.pump();
  }

  /** The stream, undefined if it is over; a stream that never was is a breach. */
  #known(id: number): Stream | undefined {
    const isOurs = id % 2 === (this.#isServer ? 0 : 1);
    if (id === 0 || (isOurs && this.#isServer) || id > this.#lastStream) {
      throw new Breach(CODE.PROTOCOL_ERROR, "a stream that was not opened");
    }
    return this.#streams.get(id);
  }

  #pump(): void {
    // Who cannot go on puts itself at the end of the row again.
    let turns = this.#blocked.size;
    for (const stream of this.#blocked) {
      if (turns === 0 || this.#output.isBacklogged || this.#sendWindow <= 0) return;
      turns -= 1;
      this.#blocked.delete(stream);
      stream.pump();
    }
  }

  #over(stream: Stream): void {
    this.#blocked.delete(stream);
    if (!this.#streams.delete(stream.id)) return;
    this.#endIfDone();
    if (!this.#isServer && !this.#isClosed) this.#options.roomier?.();
  }

  #retire(): void {
    if (this.#isRetiring) return;
    this.#isRetiring = true;
    this.#options.retiring?.();
  }

  #endIfDone(): void {
    if (this.#isRetiring && !this.#isServer && this.#streams.size === 0 && !this.#isClosed) {
      this.#socket.end();
    }
  }

  #putHeaders(stream: number, block: Uint8Array, isLast: boolean): void {
    let from = 0;
    let type: number = FRAME.HEADERS;
    let flags: number = isLast ? FLAG.END_STREAM : 0;
    do {
      const piece = block.subarray(from, from + FRAME_MAX_BYTES);
      from += piece.length;
      if (from >= block.length) flags |= FLAG.END_HEADERS;
      this.#putFrame(type, flags, stream, piece);
      type = FRAME.CONTINUATION;
      flags = 0;
    } while (from < block.length);
  }

  #putData(stream: number, bytes: Uint8Array, isLast: boolean): void {
    this.#sendWindow -= bytes.length;
    let from = 0;
    do {
      const piece = bytes.subarray(from, from + this.#frameMax);
      from += piece.length;
      const flags = isLast && from >= bytes.length ? FLAG.END_STREAM : 0;
      this.#putFrame(FRAME.DATA, flags, stream, piece);
    } while (from < bytes.length);
  }

  #putFrame(type: number, flags: number, stream: number, payload: Uint8Array): void {
    const at = this.#output.reserve(FRAME_HEAD_BYTES);
    putHead(this.#output.bytes, at, payload.length, type, flags, stream);
    this.#output.write(payload);
  }
}
