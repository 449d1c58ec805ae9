/**
 * `ssh://[user@]host[:port][/path/of/socket]`: the user's own `ssh` program, with its configuration,
 * keys and agent, runs `skep system dial-stdio` over there (docker's where there is no skep), and HTTP
 * goes through its standard streams.
 */

import { type ChildProcessByStdio, spawn } from "node:child_process";
import { Duplex, type Readable, type Writable } from "node:stream";
import { EngineError } from "#base/error.ts";

export interface SshTarget {
  readonly host: string;
  readonly user?: string;
  readonly port?: string;
  /** The engine's socket over there, if it is not where the program looks by itself. */
  readonly socket?: string;
}

/** What ssh complained about last is shown; it may complain at length. */
const COMPLAINT_MAX_BYTES = 4096;

export function sshTarget(address: string): SshTarget {
  const refuse = (why: string) =>
    new EngineError(
      "invalid-argument",
      `ssh host connection is not valid: invalid SSH URL: ${why}`,
    );
  let url: URL;
  try {
    url = new URL(address);
  } catch {
    throw refuse(/^ssh:\/\/([^/]*@)?([:/?#]|$)/.test(address) ? "hostname is empty" : address);
  }
  if (url.hostname === "") throw refuse("hostname is empty");
  if (url.password !== "") throw refuse("plain-text password is not supported");
  if (url.search !== "") {
    throw refuse(`query parameters are not allowed: ${JSON.stringify(url.search.slice(1))}`);
  }
  if (url.hash !== "")
    throw refuse(`fragments are not allowed: ${JSON.stringify(url.hash.slice(1))}`);
  const path = decodeURIComponent(url.pathname);
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    ...(url.username === "" ? {} : { user: decodeURIComponent(url.username) }),
    ...(url.port === "" ? {} : { port: url.port }),
    ...(path === "" || path === "/" ? {} : { socket: path }),
  };
}

/** The words after "ssh". */
export function sshArguments({ host, user, port, socket }: SshTarget): readonly string[] {
  const at = socket === undefined ? "" : ` --host ${shellWord(`unix://${socket}`)}`;
  const dial = `${at} system dial-stdio`;
  // In a shell that we know: the one that logs in over there may be any.
  const script = `if command -v skep >/dev/null; then exec skep${dial}; else exec docker${dial}; fi`;
  return [
    "-o",
    "ConnectTimeout=30",
    "-T",
    ...(user === undefined ? [] : ["-l", user]),
    ...(port === undefined ? [] : ["-p", port]),
    "--",
    host,
    `sh -c ${shellWord(script)}`,
  ];
}

function shellWord(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

export function openSsh(target: SshTarget): Duplex {
  return new SshConnection(sshArguments(target));
}

type SshProcess = ChildProcessByStdio<Writable, Readable, Readable>;

/** The standard streams of an `ssh` as one stream, with what HTTP expects of a socket. */
class SshConnection extends Duplex {
  readonly #ssh: SshProcess;
  readonly #words: readonly string[];
  #complaint = "";
  #answered = false;

  constructor(words: readonly string[]) {
    super({ allowHalfOpen: true });
    this.#words = words;
    // A session of its own: the interrupt key is for the container, not for the way to it.
    this.#ssh = spawn("ssh", words, { stdio: ["pipe", "pipe", "pipe"], detached: true });
    const { stdin, stdout, stderr } = this.#ssh;
    stdout.on("data", (chunk: Buffer) => {
      this.#answered = true;
      if (!this.push(chunk)) stdout.pause();
    });
    stderr.on("data", (chunk: Buffer) => {
      this.#complaint = `${this.#complaint}${chunk.toString()}`.slice(-COMPLAINT_MAX_BYTES);
    });
    // The exit tells more than a broken pipe.
    stdin.on("error", () => undefined);
    this.#ssh.on("error", (error) => this.destroy(error));
    this.#ssh.on("close", (code, signal) => this.#ended(code, signal));
  }

  #ended(code: number | null, signal: NodeJS.Signals | null): void {
    if (this.#answered || code === 0) {
      this.push(null);
      return;
    }
    this.destroy(
      new EngineError(
        "unavailable",
        `command [ssh ${this.#words.join(" ")}] has exited with ${signal ?? `exit status ${code}`}, make sure the URL is valid, and skep or Docker 18.09 or later is installed on the remote host: stderr=${this.#complaint}`,
      ),
    );
  }

  override _read(): void {
    this.#ssh.stdout.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    // A program that has gone is told by its exit.
    this.#ssh.stdin.write(chunk, () => done());
  }

  override _final(done: () => void): void {
    this.#ssh.stdin.end(() => done());
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#ssh.kill();
    done(error);
  }

  setKeepAlive(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  setTimeout(): this {
    return this;
  }

  ref(): this {
    this.#hold("ref");
    return this;
  }

  /** One that is only kept for the next request does not keep this program alive. */
  unref(): this {
    this.#hold("unref");
    return this;
  }

  #hold(verb: "ref" | "unref"): void {
    this.#ssh[verb]();
    for (const stream of [this.#ssh.stdin, this.#ssh.stdout, this.#ssh.stderr]) {
      (stream as Partial<Record<"ref" | "unref", () => void>>)[verb]?.();
    }
  }
}
