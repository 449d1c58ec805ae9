/**
 * Where a transcript's output gathers: what the script prints and, from a chosen level on, what the
 * nodes log. At level NONE nothing is kept, which makes setup silent.
 */

import type { RaftLogger } from "../types.ts";

const LEVELS = ["DEBUG", "INFO", "WARN", "ERROR", "FATAL", "NONE"] as const;

export class Output implements RaftLogger {
  #text = "";
  #level = 0;

  get text(): string {
    return this.#text;
  }

  get level(): number {
    return this.#level;
  }

  get isQuiet(): boolean {
    return LEVELS[this.#level] === "NONE";
  }

  set level(level: number) {
    this.#level = level;
  }

  /** False if there is no such level. */
  setLevel(name: string): boolean {
    const level = LEVELS.findIndex((known) => known === name.toUpperCase());
    if (level >= 0) this.#level = level;
    return level >= 0;
  }

  reset(): void {
    this.#text = "";
  }

  write(text: string): void {
    if (!this.isQuiet) this.#text += text;
  }

  /** Whatever `body` prints is indented by two spaces. */
  indent(body: () => void): void {
    const outer = this.#text;
    this.#text = "";
    body();
    const inner = this.#text.replace(/\n$/, "");
    const lines = this.#text === "" ? [] : inner.split("\n");
    this.#text = outer + lines.map((line) => `  ${line}\n`).join("");
  }

  debug(message: string): void {
    this.#log(0, message);
  }

  info(message: string): void {
    this.#log(1, message);
  }

  warn(message: string): void {
    this.#log(2, message);
  }

  error(message: string): void {
    this.#log(3, message);
  }

  #log(level: number, message: string): void {
    if (level >= this.#level) this.write(`${LEVELS[level]} ${message}\n`);
  }
}
