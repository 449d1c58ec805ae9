/** What happened, line by line, for people. Lines are only built when somebody will read them. */

export class Trace {
  readonly #lines: string[] = [];
  readonly #isOn: boolean;
  /** Folds all lines into one number, so that two runs can be compared. */
  #digest = 0;

  constructor(isOn: boolean) {
    this.#isOn = isOn;
  }

  get lines(): readonly string[] {
    return this.#lines;
  }

  get digest(): number {
    return this.#digest;
  }

  add(now: number, who: string, line: () => string): void {
    if (!this.#isOn) return;
    const text = `${String(now).padStart(6)}ms ${who.padEnd(4)} ${line()}`;
    for (let i = 0; i < text.length; i++) {
      this.#digest = (Math.imul(this.#digest, 31) + text.charCodeAt(i)) | 0;
    }
    this.#lines.push(text);
  }
}
