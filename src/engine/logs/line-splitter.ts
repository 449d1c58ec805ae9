/**
 * Cuts one output stream into lines of at most 16 KiB. A longer line becomes several entries, of
 * which only the last ends in a line feed; a cut never falls into a UTF-8 character. Pure.
 */

export const LINE_MAX_BYTES = 16 * 1024;
const LINE_FEED = 0x0a;

export class LineSplitter {
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;

  /** Lines with their line feed, and full parts of longer ones without. */
  push(chunk: Uint8Array): Uint8Array[] {
    const lines: Uint8Array[] = [];
    let start = 0;
    while (start < chunk.length) {
      const feed = chunk.indexOf(LINE_FEED, start);
      const end = feed < 0 ? chunk.length : feed + 1;
      this.#take(chunk.subarray(start, end), lines);
      if (feed >= 0) lines.push(this.#join());
      start = end;
    }
    return lines;
  }

  /** What is left when the stream has ended; undefined when it ended with a line feed. */
  end(): Uint8Array | undefined {
    return this.#pendingBytes === 0 ? undefined : this.#join();
  }

  #take(piece: Uint8Array, lines: Uint8Array[]): void {
    let rest = piece;
    while (this.#pendingBytes + rest.length > LINE_MAX_BYTES) {
      const room = LINE_MAX_BYTES - this.#pendingBytes;
      this.#keep(rest.subarray(0, room));
      rest = rest.subarray(room);
      const full = this.#join();
      const cut = cutBefore(full);
      lines.push(full.subarray(0, cut));
      if (cut < full.length) this.#keep(full.subarray(cut));
    }
    if (rest.length > 0) this.#keep(rest);
  }

  #keep(bytes: Uint8Array): void {
    // Copied: the chunk belongs to the stream, and a short rest would hold all of it in memory.
    this.#pending.push(bytes.slice());
    this.#pendingBytes += bytes.length;
  }

  #join(): Uint8Array {
    const [only, ...more] = this.#pending;
    let joined = only ?? new Uint8Array(0);
    if (more.length > 0) {
      joined = new Uint8Array(this.#pendingBytes);
      let offset = 0;
      for (const part of this.#pending) {
        joined.set(part, offset);
        offset += part.length;
      }
    }
    this.#pending = [];
    this.#pendingBytes = 0;
    return joined;
  }
}

/** Where to cut so that no character is torn: before an unfinished one at the end. */
function cutBefore(bytes: Uint8Array): number {
  for (let back = 1; back <= 3 && back < bytes.length; back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const needs = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return needs > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}
