/** Bytes as a quoted string in Go's `%q` notation, which the transcripts use for payloads. */

const SHORT_ESCAPES: ReadonlyMap<string, string> = new Map([
  ["\x07", "\\a"],
  ["\b", "\\b"],
  ["\f", "\\f"],
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
  ["\v", "\\v"],
  ["\\", "\\\\"],
  ['"', '\\"'],
]);

export function describeBytes(data: Uint8Array): string {
  const text = decodeUtf8(data);
  if (text === undefined) return `"${[...data].map(escapeByte).join("")}"`;
  return `"${Array.from(text, escapeRune).join("")}"`;
}

/** Undefined if the bytes are not text. */
function decodeUtf8(data: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    return undefined;
  }
}

function escapeByte(byte: number): string {
  if (byte >= 0x80) return `\\x${byte.toString(16)}`;
  return escapeRune(String.fromCharCode(byte));
}

function escapeRune(rune: string): string {
  const short = SHORT_ESCAPES.get(rune);
  if (short !== undefined) return short;
  if (rune === " " || /^[\p{L}\p{M}\p{N}\p{P}\p{S}]$/u.test(rune)) return rune;
  const code = rune.codePointAt(0) ?? 0;
  if (code < 0x20 || code === 0x7f) return `\\x${code.toString(16).padStart(2, "0")}`;
  return code > 0xffff
    ? `\\U${code.toString(16).padStart(8, "0")}`
    : `\\u${code.toString(16).padStart(4, "0")}`;
}
