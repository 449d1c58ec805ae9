/**
 * HPACK's Huffman code (RFC 7541, appendix B), for reading. The code is canonical: the codes of one
 * length count up in the order of their symbols, and go on from those of the length before. So the
 * lengths say it all.
 */

/** Bits of the code of each byte. */
const LENGTHS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
  28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5,
  6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6,
  7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23,
  23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22,
  22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22,
  23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27,
  27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25,
  24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
const SHORTEST = 5;
const LONGEST = 30;
/** A string ends with up to this many one bits, the beginning of a code that no text contains. */
const PADDING_MAX = 7;

/** Symbols in the order of their codes. */
const SYMBOLS = LENGTHS.map((_, symbol) => symbol).toSorted(
  (a, b) => (LENGTHS[a] ?? 0) - (LENGTHS[b] ?? 0) || a - b,
);
/** Per length: the first code, how many there are, and where in `SYMBOLS` they begin. */
const FIRST = new Int32Array(LONGEST + 1);
const COUNT = new Int32Array(LONGEST + 1);
const BEGIN = new Int32Array(LONGEST + 1);
for (const length of LENGTHS) COUNT[length] = (COUNT[length] ?? 0) + 1;
for (let length = 1; length <= LONGEST; length++) {
  FIRST[length] = ((FIRST[length - 1] ?? 0) + (COUNT[length - 1] ?? 0)) * 2;
  BEGIN[length] = (BEGIN[length - 1] ?? 0) + (COUNT[length - 1] ?? 0);
}

/** The text (one character per byte) of a Huffman-coded string; undefined if it is none. */
export function decodeHuffman(bytes: Uint8Array, from: number, to: number): string | undefined {
  let text = "";
  let code = 0;
  let length = 0;
  for (let at = from; at < to; at++) {
    const byte = bytes[at] ?? 0;
    for (let bit = 7; bit >= 0; bit--) {
      code = code * 2 + ((byte >> bit) & 1);
      length += 1;
      if (length < SHORTEST) continue;
      if (length > LONGEST) return undefined;
      const place = code - (FIRST[length] ?? 0);
      if (place < 0 || place >= (COUNT[length] ?? 0)) continue;
      text += String.fromCharCode(SYMBOLS[(BEGIN[length] ?? 0) + place] ?? 0);
      code = 0;
      length = 0;
    }
  }
  const isPadding = length <= PADDING_MAX && code === 2 ** length - 1;
  return isPadding ? text : undefined;
}
