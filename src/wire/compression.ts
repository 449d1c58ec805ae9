/** How a stream is packed, told by its first bytes. */

export type Compression = "none" | "gzip" | "zstd" | "xz" | "bzip2";

const MAGIC: readonly (readonly [Compression, readonly number[]])[] = [
  ["gzip", [0x1f, 0x8b]],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a]],
  ["bzip2", [0x42, 0x5a, 0x68]],
];
/** Bytes that tell. */
export const MAGIC_BYTES = 5;

export function compressionOf(head: Uint8Array): Compression {
  const found = MAGIC.find(([, magic]) => magic.every((byte, at) => head[at] === byte));
  return found?.[0] ?? "none";
}
