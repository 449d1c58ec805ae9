/**
 * Log drivers that hand lines on to another program of the host or the network: syslog and the
 * journal. The lines are in the container's own file too, which is what `docker logs` reads. A
 * receiver that is behind or away costs lines beyond a bound, counted and told, but never stops the
 * container.
 */

import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";
import { connect as connectTcp, type Socket } from "node:net";
import { hostname } from "node:os";
import { connect as connectTls } from "node:tls";
import { EngineError, messageOf } from "#base/error.ts";
import type { Clock, Log, Timer } from "#base/ports.ts";
import { UnixDatagram } from "#platform/unix-datagram.ts";
import { encodeJournal } from "./journal-format.ts";
import type { ForwardSettings } from "./log-options.ts";
import { formatSyslog, type SyslogHeader, type SyslogTarget } from "./syslog-format.ts";

export interface LogLine {
  readonly stream: "stdout" | "stderr";
  readonly timeNs: bigint;
  /** Without its line feed. */
  readonly text: string;
  /** A part of a longer line; more follows. */
  readonly partial: boolean;
}

export interface Forwarder {
  send(line: LogLine): void;
  close(): void;
}

export interface ForwardPorts {
  readonly clock: Clock;
  readonly log: Log;
}

const JOURNAL = "/run/systemd/journal/socket";
const LOCAL_SYSLOGS = ["/dev/log", "/var/run/syslog", "/var/run/log"];
const QUEUE_MAX_BYTES = 4 * 1024 * 1024;
const RETRY_MS = 100;
const CONNECT_TIMEOUT_MS = 10_000;

/** Connects; refuses when there is nobody to send to, in docker's words. */
export async function openForwarder(
  settings: ForwardSettings,
  ports: ForwardPorts,
): Promise<Forwarder> {
  try {
    if (settings.kind === "journald") {
      const socket = UnixDatagram.connect(JOURNAL);
      const { fields } = settings;
      return new DatagramForwarder(socket, (line) => encodeJournal(fields, line), ports);
    }
    const header: SyslogHeader = { ...settings, hostname: hostname(), pid: process.pid };
    const encode = (line: LogLine) => Buffer.from(formatSyslog(header, line));
    return await openSyslog(settings.target, settings, encode, ports);
  } catch (error) {
    const reason =
      settings.kind === "journald" ? "journald is not enabled on this host" : messageOf(error);
    throw new EngineError("failed-precondition", `failed to initialize logging driver: ${reason}`, {
      cause: error,
    });
  }
}

type Encode = (line: LogLine) => Uint8Array;
type SyslogSettings = Extract<ForwardSettings, { kind: "syslog" }>;

async function openSyslog(
  target: SyslogTarget,
  settings: SyslogSettings,
  encode: Encode,
  ports: ForwardPorts,
): Promise<Forwarder> {
  switch (target.kind) {
    case "unixgram":
      return new DatagramForwarder(openLocal(target.path), encode, ports);
    case "udp":
      return udpForwarder(target, encode, ports);
    case "unix":
    case "tcp":
    case "tcp+tls": {
      const socket = openStream(target, settings);
      await connected(socket, target);
      // RFC 5425 counts octets, where the older framing ends lines.
      const counted = target.kind === "tcp+tls" && settings.format.startsWith("rfc5424");
      return new StreamForwarder(socket, encode, counted, ports);
    }
  }
}

function openLocal(path: string): UnixDatagram {
  for (const candidate of path === "" ? LOCAL_SYSLOGS : [path]) {
    try {
      return UnixDatagram.connect(candidate);
    } catch (error) {
      if (path !== "") throw error;
    }
  }
  throw new Error("Unix syslog delivery error");
}

function openStream(target: SyslogTarget, { tls }: SyslogSettings): Socket {
  if (target.kind === "unix") return connectTcp(target.path);
  const { host, port } = target;
  if (target.kind === "tcp") return connectTcp({ host, port });
  const file = (path: string) => (path === "" ? {} : readFileSync(path));
  return connectTls({
    host,
    port,
    rejectUnauthorized: !tls.skipVerify,
    ...(tls.ca === "" ? {} : { ca: file(tls.ca) as Buffer }),
    ...(tls.cert === "" ? {} : { cert: file(tls.cert) as Buffer, key: file(tls.key) as Buffer }),
  });
}

function connected(socket: Socket, target: SyslogTarget): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: Error) => {
      socket.setTimeout(0);
      socket.removeAllListeners("error").removeAllListeners("timeout");
      if (error === undefined) return resolve();
      socket.destroy();
      reject(error);
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => done(new Error(`dial ${target.host}: timeout`)));
    socket.once("error", done);
    socket.once(target.kind === "tcp+tls" ? "secureConnect" : "connect", () => done());
  });
}

/** Lines that wait for a receiver that is behind; the newest are dropped when there are too many. */
class DatagramForwarder implements Forwarder {
  readonly #socket: UnixDatagram;
  readonly #encode: Encode;
  readonly #ports: ForwardPorts;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #lost = 0;
  #retry: Timer | undefined;

  constructor(socket: UnixDatagram, encode: Encode, ports: ForwardPorts) {
    this.#socket = socket;
    this.#encode = encode;
    this.#ports = ports;
  }

  send(line: LogLine): void {
    const message = this.#encode(line);
    if (this.#waitingBytes + message.length > QUEUE_MAX_BYTES) {
      this.#lost += 1;
      return;
    }
    this.#waiting.push(message);
    this.#waitingBytes += message.length;
    if (this.#retry === undefined) this.#flush();
  }

  close(): void {
    this.#retry?.cancel();
    this.#flush();
    this.#retry?.cancel();
    this.#socket.close();
    if (this.#lost > 0 || this.#waiting.length > 0) {
      const lines = this.#lost + this.#waiting.length;
      this.#ports.log.warn("log lines did not reach their receiver", { lines });
    }
  }

  #flush(): void {
    this.#retry = undefined;
    let sent = 0;
    for (const message of this.#waiting) {
      if (!this.#trySend(message)) break;
      sent += 1;
      this.#waitingBytes -= message.length;
    }
    this.#waiting = this.#waiting.slice(sent);
    if (this.#waiting.length === 0) return;
    this.#retry = this.#ports.clock.setTimer(RETRY_MS, () => this.#flush());
  }

  #trySend(message: Uint8Array): boolean {
    try {
      return this.#socket.send(message);
    } catch {
      // Away: what comes until it is back waits, within the bound.
      return false;
    }
  }
}

/** Unreliable by its nature: what cannot be sent is gone. */
function udpForwarder(target: SyslogTarget, encode: Encode, { log }: ForwardPorts): Forwarder {
  const socket = createSocket(target.host.includes(":") ? "udp6" : "udp4");
  socket.on("error", (error) => log.debug("syslog", { reason: error.message }));
  socket.unref();
  return {
    send: (line) => socket.send(encode(line), target.port, target.host, () => undefined),
    close: () => socket.close(),
  };
}

class StreamForwarder implements Forwarder {
  readonly #socket: Socket;
  readonly #encode: Encode;
  readonly #counted: boolean;
  #lost = 0;

  constructor(socket: Socket, encode: Encode, counted: boolean, { log }: ForwardPorts) {
    this.#socket = socket;
    this.#encode = encode;
    this.#counted = counted;
    socket.unref();
    socket.on("error", (error) =>
      log.error("the connection to syslog is lost; lines stay in the container's log", {
        reason: error.message,
      }),
    );
    socket.once("close", () => {
      if (this.#lost > 0) log.warn("log lines did not reach syslog", { lines: this.#lost });
    });
  }

  send(line: LogLine): void {
    const message = this.#encode(line);
    if (!this.#socket.writable || this.#socket.writableLength > QUEUE_MAX_BYTES) {
      this.#lost += 1;
      return;
    }
    if (this.#counted) this.#socket.write(`${message.length} `);
    this.#socket.write(message);
    if (!this.#counted) this.#socket.write("\n");
  }

  close(): void {
    this.#socket.end();
  }
}
