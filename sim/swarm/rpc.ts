/**
 * Remote calls between processes: real services and clients of `wire/`, over a network that delays,
 * cuts links in either direction and breaks calls. Messages pass as bytes. Within a call they keep
 * their order and none is skipped, as on a connection: what a cut swallows breaks the call instead,
 * when both ends come to notice.
 */

import {
  create,
  type DescMethod,
  type DescService,
  fromBinary,
  toBinary,
} from "@bufbuild/protobuf";
import { EngineError, messageOf } from "#base/error.ts";
import { AsyncQueue } from "#platform/async.ts";
import type { CallOptions, RpcChannel, RpcClient } from "#platform/grpc/client.ts";
import type { RpcContext, RpcHandlers } from "#platform/grpc/server.ts";
import type { SeededRandom } from "../random.ts";
import type { Timeline } from "../timeline.ts";
import type { Process } from "./process.ts";

export interface Line {
  readonly latencyMs: readonly [number, number];
  /** Probability that a call breaks on its way: before it is heard, or before its answer is. */
  readonly breakage: number;
}

/** Until an end notices that nothing comes through any more. */
const KEEPALIVE_MS = 5_000;
const QUEUE_MAX = 100_000;
/** How a manager that forwards a call says whose it is. */
const FORWARDED_FOR = "forwarded_cert_cn";

type Handler = (request: unknown, context: RpcContext) => unknown;

interface Server {
  readonly process: Process;
  readonly handlers: Map<string, Handler>;
}

export class RpcNetwork {
  readonly #timeline: Timeline;
  readonly #random: SeededRandom;
  #line: Line;
  /** By "host:port". */
  readonly #servers = new Map<string, Server>();
  /** Links that are down, as "from>to" of node ids. */
  readonly #cuts = new Set<string>();
  readonly #lastArrival = new Map<string, number>();
  readonly #calls = new Set<Call>();
  /** Hears what servers stream to the node that asked, maybe through another, before it is on its way. */
  onAnswer: (from: string, to: string, method: DescMethod, message: unknown) => void = () => {};
  /** Signals of handlers that were not told of their end: their process may be gone. */
  readonly #signals = new Set<AbortController>();

  constructor(timeline: Timeline, random: SeededRandom, line: Line) {
    this.#timeline = timeline;
    this.#random = random;
    this.#line = line;
  }

  serve(
    addr: string,
    process: Process,
  ): { add: <S extends DescService>(service: S, handlers: RpcHandlers<S>) => void } {
    const handlers = new Map<string, Handler>();
    this.#servers.set(addr, { process, handlers });
    return {
      add: (service, implementation) => {
        for (const method of service.methods) {
          const handler = (implementation as Record<string, Handler>)[method.localName];
          if (handler !== undefined) handlers.set(pathOf(method), handler);
        }
      },
    };
  }

  channel(from: Process, addr: string): RpcChannel {
    return {
      client: (service) => this.#client(from, addr, service),
      ready: (timeoutMs) => this.#ready(from, addr, timeoutMs),
      close: () => {},
    };
  }

  cut(from: string, to: string): void {
    this.#cuts.add(`${from}>${to}`);
    // Connections without traffic are found dead too.
    for (const call of this.#calls) {
      if (call.isBetween(from, to)) this.#noticeLater(call, from, to);
    }
  }

  mend(): void {
    this.#cuts.clear();
  }

  calm(line: Line): void {
    this.mend();
    this.#line = line;
  }

  /** Its connections break: at once if the machine lives to say so, else when the others notice. */
  processEnded(process: Process, isSilent: boolean): void {
    for (const call of this.#calls) {
      if (!call.involves(process)) continue;
      this.#timeline.after(isSilent ? KEEPALIVE_MS : this.#delay(), () => {
        call.break("the connection was lost");
      });
    }
  }

  /** Brings something over, in order per link; false if the link is down when it should arrive. */
  carry(call: Call, from: Process, to: Process, deliver: () => void): void {
    const link = `${from.nodeId}>${to.nodeId}`;
    const due = this.#timeline.now + this.#delay();
    const arrival = Math.max(due, this.#lastArrival.get(link) ?? 0);
    this.#lastArrival.set(link, arrival);
    const isCutNow = this.#cuts.has(link);
    to.after(arrival - this.#timeline.now, () => {
      if (call.isOver) return;
      if (isCutNow || this.#cuts.has(link)) call.lose(this.#timeline);
      else deliver();
    });
  }

  /** The signal of a handler of a call. */
  handlerSignal(): AbortController {
    const controller = new AbortController();
    this.#signals.add(controller);
    return controller;
  }

  handlerEnds(controller: AbortController, reason: unknown): void {
    this.#signals.delete(controller);
    controller.abort(reason);
  }

  /**
   * The world is over. Node keeps composed signals with listeners for as long as they may be aborted,
   * and with them everything that listens.
   */
  end(): void {
    for (const controller of this.#signals) controller.abort();
  }

  forget(call: Call): void {
    this.#calls.delete(call);
  }

  async #ready(from: Process, addr: string, timeoutMs: number): Promise<void> {
    await from.sleep(2 * this.#delay());
    const to = this.#servers.get(addr)?.process;
    const isThere = to?.isAlive === true && !this.isCut(from.nodeId, to.nodeId);
    if (isThere) return;
    await from.sleep(timeoutMs);
    throw new EngineError("unavailable", `no connection to ${addr}`);
  }

  /** Whether nothing comes through, in one direction at least. */
  isCut(a: string, b: string): boolean {
    return this.#cuts.has(`${a}>${b}`) || this.#cuts.has(`${b}>${a}`);
  }

  #noticeLater(call: Call, from: string, to: string): void {
    this.#timeline.after(KEEPALIVE_MS, () => {
      if (this.#cuts.has(`${from}>${to}`)) call.break("keepalive timeout");
    });
  }

  #delay(): number {
    return this.#random.between(...this.#line.latencyMs);
  }

  #client<S extends DescService>(from: Process, addr: string, service: S): RpcClient<S> {
    const client: Record<string, unknown> = {};
    for (const method of service.methods) {
      client[method.localName] = (input: unknown, options: CallOptions = {}) =>
        this.#call(from, addr, method, input, options);
    }
    // One function per method of the service, of the method's kind.
    return client as RpcClient<S>;
  }

  #call(
    from: Process,
    addr: string,
    method: DescMethod,
    input: unknown,
    options: CallOptions,
  ): unknown {
    const server = this.#servers.get(addr);
    const call = new Call(this, from, server?.process, method);
    this.#calls.add(call);
    call.open(options);
    if (server?.process.isAlive !== true) {
      from.after(this.#delay(), () => call.break("connection refused"));
    } else if (this.#random.chance(this.#line.breakage)) {
      const isHeard = this.#random.chance(0.5);
      if (isHeard) call.start(server.handlers.get(pathOf(method)), input, options);
      from.after(this.#random.between(1, 200), () => call.break("the connection was reset"));
    } else {
      call.start(server.handlers.get(pathOf(method)), input, options);
    }
    return call.result();
  }
}

class Call {
  readonly #network: RpcNetwork;
  readonly #from: Process;
  readonly #to: Process | undefined;
  readonly #method: DescMethod;
  readonly #toServer = new AsyncQueue<unknown>(QUEUE_MAX);
  readonly #toClient = new AsyncQueue<unknown>(QUEUE_MAX);
  readonly #serverSignal: AbortController;
  #release: () => void = () => {};
  #stopRequests: () => void = () => {};
  #isOver = false;
  #isLost = false;

  constructor(network: RpcNetwork, from: Process, to: Process | undefined, method: DescMethod) {
    this.#network = network;
    this.#from = from;
    this.#to = to;
    this.#method = method;
    this.#serverSignal = network.handlerSignal();
  }

  get isOver(): boolean {
    return this.#isOver || this.#isLost;
  }

  isBetween(a: string, b: string): boolean {
    const ends = [this.#from.nodeId, this.#to?.nodeId];
    return ends.includes(a) && ends.includes(b);
  }

  involves(process: Process): boolean {
    return this.#from === process || this.#to === process;
  }

  /** The caller's side: deadline and cancellation. */
  open({ signal, timeoutMs }: CallOptions): void {
    const cancel = () => this.#cancel(new EngineError("cancelled", "the call was cancelled"));
    if (signal?.aborted) cancel();
    signal?.addEventListener("abort", cancel, { once: true });
    const timer =
      timeoutMs === undefined
        ? undefined
        : this.#from.setTimer(timeoutMs, () =>
            this.#cancel(new EngineError("deadline-exceeded", "the call took too long")),
          );
    this.#release = () => {
      signal?.removeEventListener("abort", cancel);
      timer?.cancel();
    };
  }

  start(handler: Handler | undefined, input: unknown, { metadata = {} }: CallOptions): void {
    const to = this.#to;
    if (to === undefined || this.#isOver) return;
    const { methodKind } = this.#method;
    const isStream = methodKind === "client_streaming" || methodKind === "bidi_streaming";
    const context: RpcContext = {
      peer: { nodeId: this.#from.nodeId, role: "swarm-manager", clusterId: "cluster" },
      peerAddress: `${this.#from.nodeId}:1`,
      signal: this.#serverSignal.signal,
      metadata,
      path: pathOf(this.#method),
      local: false,
    };
    const bytes = isStream ? undefined : encode(this.#method.input, input);
    this.#network.carry(this, this.#from, to, () => {
      const request = bytes === undefined ? this.#toServer : fromBinary(this.#method.input, bytes);
      void this.#serve(handler, request, context);
    });
    // The handler must be there before the first of its requests.
    if (isStream) void this.#pumpRequests(input as AsyncIterable<unknown>, to);
  }

  result(): unknown {
    const isStream =
      this.#method.methodKind.startsWith("server") || this.#method.methodKind.startsWith("bidi");
    return isStream ? this.#answers() : this.#firstAnswer();
  }

  /** Something on the way was swallowed: the rest of the call is, too. */
  lose(timeline: Timeline): void {
    if (this.isOver) return;
    this.#isLost = true;
    timeline.after(KEEPALIVE_MS, () => this.break("the connection was lost"));
  }

  /** Both ends learn that the connection is gone. */
  break(why: string): void {
    this.#finish(new EngineError("unavailable", why));
  }

  #cancel(error: EngineError): void {
    if (this.#isOver) return;
    const to = this.#to;
    this.#isOver = true;
    this.#settleClient(error);
    // The server learns of it a little later, if it can be reached at all.
    if (to !== undefined) to.after(5, () => this.#settleServer(error));
    this.#network.forget(this);
  }

  #finish(error: EngineError | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#settleClient(error);
    if (this.#to?.isAlive === true)
      this.#settleServer(error ?? new EngineError("cancelled", "over"));
    this.#network.forget(this);
  }

  #settleClient(error: EngineError | undefined): void {
    this.#release();
    if (!this.#from.isAlive) return;
    this.#toClient.end(error);
    this.#stopRequests();
  }

  #settleServer(error: EngineError): void {
    if (this.#to?.isAlive !== true) return;
    this.#network.handlerEnds(this.#serverSignal, error);
    this.#toServer.end(error);
  }

  async #serve(handler: Handler | undefined, request: unknown, context: RpcContext): Promise<void> {
    const { name, methodKind, output } = this.#method;
    try {
      if (handler === undefined) throw new EngineError("unimplemented", `no ${name} here`);
      if (methodKind === "unary" || methodKind === "client_streaming") {
        this.#answer(encode(output, await handler(request, context)));
      } else {
        for await (const message of handler(request, context) as AsyncIterable<unknown>) {
          if (this.#isOver) return;
          const asker = context.metadata[FORWARDED_FOR] ?? this.#from.nodeId;
          this.#network.onAnswer(this.#to?.nodeId ?? "", asker, this.#method, message);
          this.#answer(encode(output, message));
        }
      }
      this.#end(undefined);
    } catch (error) {
      const { code } = EngineError.from(error);
      this.#end(new EngineError(code, messageOf(error)));
    }
  }

  #answer(bytes: Uint8Array): void {
    this.#toCaller(() => this.#toClient.push(fromBinary(this.#method.output, bytes)));
  }

  #end(error: EngineError | undefined): void {
    this.#toCaller(() => this.#finish(error));
  }

  #toCaller(deliver: () => void): void {
    const to = this.#to;
    if (to?.isAlive !== true || this.isOver) return;
    this.#network.carry(this, to, this.#from, deliver);
  }

  async #pumpRequests(requests: AsyncIterable<unknown>, to: Process): Promise<void> {
    const iterator = requests[Symbol.asyncIterator]();
    this.#stopRequests = () => void iterator.return?.()?.catch(() => undefined);
    try {
      for (;;) {
        const next = await iterator.next();
        if (this.#isOver) return;
        if (next.done === true) break;
        const bytes = encode(this.#method.input, next.value);
        this.#network.carry(this, this.#from, to, () => {
          this.#toServer.push(fromBinary(this.#method.input, bytes));
        });
      }
      this.#network.carry(this, this.#from, to, () => this.#toServer.end());
    } catch {
      this.#cancel(new EngineError("cancelled", "the caller's requests ended in an error"));
    }
  }

  async #firstAnswer(): Promise<unknown> {
    for await (const message of this.#toClient) {
      this.#release();
      return message;
    }
    throw new EngineError("internal", "the call ended without an answer");
  }

  async *#answers(): AsyncGenerator {
    try {
      yield* this.#toClient;
    } finally {
      this.#cancel(new EngineError("cancelled", "the caller has heard enough"));
    }
  }
}

function encode(schema: DescMethod["input"], value: unknown): Uint8Array {
  // What it is made from is checked by the types of clients and handlers.
  return toBinary(schema, create(schema, value as never) as never);
}

function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}
