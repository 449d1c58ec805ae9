/**
 * The connection under a channel: made when the first call needs it, made anew when it is lost, and
 * not tried more often than a growing pause allows. A call while the pause lasts fails at once, unless
 * the channel has patience; one while the connection is being made waits for it.
 */

import { connect as connectNet, type Socket } from "node:net";
import { connect as connectTls, TLSSocket } from "node:tls";
import { EngineError, messageOf } from "#base/error.ts";
import { deferred } from "../async.ts";
import { Connection, KEEPALIVE_MS } from "../http2/connection.ts";
import { TAKEN_FOR_SELF_SIGNED } from "../x509/cross-signed.ts";
import { CallError } from "./status.ts";
import { assertCrossSigned } from "./tls.ts";

const BACKOFF_FIRST_MS = 100;
const BACKOFF_MAX_MS = 2_000;
/** Longer than a first answer takes on any line, and short enough that a host that is back is found. */
const CONNECT_TIMEOUT_MS = 5_000;
/** Calls that wait for room on the connection. */
const WAITING_MAX = 10_000;

/** How a client proves itself, and whom it believes. */
export interface ClientTls {
  /** PEM of the roots that the server's certificate must come from; absent, any server is believed. */
  readonly ca?: string | undefined;
  /** PEM of the client's own chain and key, if it has them. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

export interface TransportOptions {
  /** "unix:///path" or "host:port". */
  readonly target: string;
  /** Plain text when absent (unix sockets only). */
  readonly tls?: ClientTls | undefined;
  /** The name to verify in the server's certificate instead of the address. */
  readonly serverName?: string | undefined;
  /**
   * How long a call waits where no connection can be made, milliseconds, asked with each call; it has
   * not been sent then. 0 unless told: it fails with the attempt that is under way.
   */
  readonly patienceMs?: (() => number) | undefined;
}

export class Transport {
  readonly #options: TransportOptions;
  #connection: Connection | undefined;
  #connecting: Promise<void> | undefined;
  /** Connections that finish their calls, and take no more. */
  readonly #retired = new Set<Connection>();
  #failure: EngineError | undefined;
  #backoffMs = BACKOFF_FIRST_MS;
  /** Monotonic time before which no attempt is made. */
  #notBefore = 0;
  #isClosed = false;
  /** Callbacks of those who wait for room, in order. */
  #waiting: (() => void)[] = [];

  constructor(options: TransportOptions) {
    this.#options = options;
  }

  /** The connection, if a call can begin on it now. */
  get current(): Connection | undefined {
    const connection = this.#connection;
    return connection?.hasRoom === true && this.#waiting.length === 0 ? connection : undefined;
  }

  /** Resolves to a connection that a call can begin on at once. */
  async acquire(): Promise<Connection> {
    for (;;) {
      if (this.#isClosed) throw channelClosed();
      const connection = this.#connection;
      if (connection === undefined) await this.#reconnect();
      else if (connection.hasRoom) return connection;
      else await this.#room();
    }
  }

  /** Resolves once a connection stands; tries again as long as `timeoutMs` allows. */
  async ready(timeoutMs: number): Promise<void> {
    if (this.#connection !== undefined) return;
    const late = deferred<"late">();
    const timer = setTimeout(() => late.resolve("late"), timeoutMs);
    try {
      while (this.#connection === undefined) {
        if (this.#isClosed) throw channelClosed();
        const outcome = await Promise.race([this.#attempt(), late.promise]);
        if (outcome === "late") {
          throw this.#failure ?? unavailable(`no connection to ${this.#options.target}`);
        }
      }
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const connection of [this.#connection, ...this.#retired]) {
      connection?.close("the channel was closed");
    }
    this.#wake();
  }

  async #reconnect(): Promise<void> {
    const patienceMs = this.#options.patienceMs?.() ?? 0;
    if (patienceMs > 0) await this.ready(patienceMs);
    else await this.#connect();
  }

  /** One attempt, after the pause that is due; never rejects. */
  async #attempt(): Promise<"done"> {
    const pauseMs = this.#notBefore - performance.now();
    if (pauseMs > 0 && this.#connecting === undefined) {
      await new Promise((resolve) => setTimeout(resolve, pauseMs).unref());
    }
    await this.#connect().catch(() => undefined);
    return "done";
  }

  async #connect(): Promise<void> {
    if (this.#connecting === undefined) {
      if (performance.now() < this.#notBefore) throw this.#failure ?? channelClosed();
      this.#connecting = this.#establish().finally(() => {
        this.#connecting = undefined;
      });
    }
    await this.#connecting;
  }

  async #establish(): Promise<void> {
    try {
      await this.#dial(false).catch((error: unknown) => {
        if ((error as NodeJS.ErrnoException).code !== TAKEN_FOR_SELF_SIGNED) throw error;
        return this.#dial(true);
      });
      this.#backoffMs = BACKOFF_FIRST_MS;
      this.#failure = undefined;
      this.#notBefore = 0;
    } catch (error) {
      const message = `no connection to ${this.#options.target}: ${messageOf(error)}`;
      this.#failure = unavailable(message);
      this.#notBefore = performance.now() + this.#backoffMs;
      this.#backoffMs = Math.min(2 * this.#backoffMs, BACKOFF_MAX_MS);
      throw this.#failure;
    }
    if (this.#isClosed) this.#connection?.close("the channel was closed");
  }

  /**
   * Makes the connection the channel's. Whether the server is to be believed says OpenSSL, or, of a chain
   * that it takes for something else, this program itself, before anything is sent.
   */
  #dial(judgedHere: boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = this.#socket(judgedHere);
      let failure: Error = new Error("the server ended the connection");
      const timer = setTimeout(() => {
        socket.destroy(new Error("no answer in time"));
      }, CONNECT_TIMEOUT_MS);
      socket.on("error", (error: Error) => {
        failure = error;
      });
      const settled = () => {
        clearTimeout(timer);
        resolve();
      };
      const ended = () => {
        clearTimeout(timer);
        reject(failure);
      };
      if (!judgedHere) return this.#adopt(socket, settled, ended);
      socket.once("close", ended);
      socket.once("secureConnect", () => {
        try {
          this.#judge(socket);
        } catch (error) {
          socket.destroy(error as Error);
          return;
        }
        this.#adopt(socket, settled, ended);
      });
    });
  }

  #judge(socket: Socket): void {
    const roots = this.#options.tls?.ca;
    const { serverName } = this.#options;
    if (!(socket instanceof TLSSocket) || roots === undefined || serverName === undefined) {
      throw new EngineError("internal", "nothing to judge the server by");
    }
    assertCrossSigned(socket, roots, serverName);
  }

  #adopt(socket: Socket, settled: () => void, ended: () => void): void {
    const connection: Connection = new Connection({
      socket,
      side: "client",
      peer: this.#options.target,
      settled: () => {
        this.#connection = connection;
        settled();
      },
      roomier: () => this.#wake(),
      retiring: () => {
        this.#retired.add(connection);
        this.#forget(connection);
      },
      closed: () => {
        this.#retired.delete(connection);
        this.#forget(connection);
        ended();
      },
    });
  }

  #socket(judgedHere: boolean): Socket {
    const { target, tls, serverName } = this.#options;
    if (target.startsWith("unix://")) return connectNet(target.slice("unix://".length));
    const colon = target.lastIndexOf(":");
    const host = target.slice(0, colon).replace(/^\[(.*)\]$/, "$1");
    const port = Number(target.slice(colon + 1));
    if (tls === undefined) throw new EngineError("internal", "a host is spoken to by TLS only");
    const { ca, cert, key } = tls;
    const socket = connectTls({
      host,
      port,
      servername: serverName,
      ca,
      cert,
      key,
      ALPNProtocols: ["h2"],
      rejectUnauthorized: ca !== undefined && !judgedHere,
      minVersion: "TLSv1.2",
    });
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_MS);
    return socket;
  }

  #forget(connection: Connection): void {
    if (this.#connection === connection) this.#connection = undefined;
    this.#wake();
  }

  #room(): Promise<void> {
    if (this.#waiting.length >= WAITING_MAX) {
      throw new EngineError("resource-exhausted", "too many calls wait for the connection");
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }
}

function unavailable(message: string): CallError {
  return new CallError("unavailable", message);
}

function channelClosed(): CallError {
  return new CallError("cancelled", "the channel was closed");
}
