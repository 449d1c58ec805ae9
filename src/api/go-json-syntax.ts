/** What Go's decoder says of a text that is no JSON: clients show it, and people search for it. */

/** Thrown within this file only: where the text ends, or has what it must not have. */
class Problem extends Error {}

export const AFTER_JSON = "unexpected content after JSON";

/** Of a text that `JSON.parse` refuses. */
export function goSyntaxProblem(text: string): string {
  try {
    new Scanner(text).value();
    return AFTER_JSON;
  } catch (error) {
    if (error instanceof Problem) return error.message;
    throw error;
  }
}

const SPACE = new Set([" ", "\t", "\r", "\n"]);
/** Nesting beyond this is not looked into; Go's own limit is 10,000. */
const MAX_DEPTH = 10_000;

class Scanner {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(): void {
    const first = this.#peek();
    if (first === "{") this.#members();
    else if (first === "[") this.#items();
    else if (first === '"') this.#string();
    else if (first === "t") this.#literal("true");
    else if (first === "f") this.#literal("false");
    else if (first === "n") this.#literal("null");
    else if (first === "-" || isDigit(first)) this.#number();
    else throw this.#refuse("looking for beginning of value");
  }

  #members(): void {
    this.#enter();
    if (this.#peek() === "}") return this.#leave();
    for (;;) {
      if (this.#peek() !== '"') throw this.#refuse("looking for beginning of object key string");
      this.#string();
      if (this.#peek() !== ":") throw this.#refuse("after object key");
      this.#at += 1;
      this.value();
      if (this.#peek() === "}") return this.#leave();
      if (this.#peek() !== ",") throw this.#refuse("after object key:value pair");
      this.#at += 1;
    }
  }

  #items(): void {
    this.#enter();
    if (this.#peek() === "]") return this.#leave();
    for (;;) {
      this.value();
      if (this.#peek() === "]") return this.#leave();
      if (this.#peek() !== ",") throw this.#refuse("after array element");
      this.#at += 1;
    }
  }

  #enter(): void {
    this.#at += 1;
    this.#depth += 1;
    if (this.#depth > MAX_DEPTH) throw new Problem("exceeded max depth");
  }

  #leave(): void {
    this.#at += 1;
    this.#depth -= 1;
  }

  #string(): void {
    this.#at += 1;
    for (;;) {
      const char = this.#char();
      if (char === '"') break;
      if (char < " ") throw this.#refuse("in string literal");
      this.#at += 1;
      if (char !== "\\") continue;
      const escape = this.#char();
      if (!'"\\/bfnrtu'.includes(escape)) throw this.#refuse("in string escape code");
      this.#at += 1;
      if (escape !== "u") continue;
      for (let digits = 0; digits < 4; digits += 1) {
        if (!/[0-9a-fA-F]/.test(this.#char())) {
          throw this.#refuse("in \\u hexadecimal character escape");
        }
        this.#at += 1;
      }
    }
    this.#at += 1;
  }

  #literal(word: string): void {
    for (const wanted of word) {
      if (this.#char() !== wanted) {
        throw this.#refuse(`in literal ${word} (expecting ${quoted(wanted)})`);
      }
      this.#at += 1;
    }
  }

  #number(): void {
    if (this.#char() === "-") {
      this.#at += 1;
      if (!isDigit(this.#char())) throw this.#refuse("in numeric literal");
    }
    if (this.#char() === "0") this.#at += 1;
    else this.#digits();
    if (this.#text[this.#at] === ".") {
      this.#at += 1;
      if (!isDigit(this.#char())) throw this.#refuse("after decimal point in numeric literal");
      this.#digits();
    }
    if (this.#text[this.#at] === "e" || this.#text[this.#at] === "E") {
      this.#at += 1;
      if (this.#char() === "+" || this.#char() === "-") this.#at += 1;
      if (!isDigit(this.#char())) throw this.#refuse("in exponent of numeric literal");
      this.#digits();
    }
  }

  #digits(): void {
    while (isDigit(this.#text[this.#at] ?? "")) this.#at += 1;
  }

  /** The next character that is no space. */
  #peek(): string {
    while (SPACE.has(this.#text[this.#at] ?? "")) this.#at += 1;
    return this.#char();
  }

  #char(): string {
    const code = this.#text.codePointAt(this.#at);
    if (code === undefined) throw new Problem("unexpected EOF");
    return String.fromCodePoint(code);
  }

  #refuse(where: string): Problem {
    return new Problem(`invalid character ${quoted(this.#char())} ${where}`);
  }
}

function isDigit(char: string): boolean {
  return char >= "0" && char <= "9";
}

/** As Go writes a character between single quotes. */
function quoted(char: string): string {
  if (char === "'") return "'\\''";
  if (char === '"') return "'\"'";
  return `'${JSON.stringify(char).slice(1, -1)}'`;
}
