/**
 * Headers of tar archives (POSIX.1-2001: ustar, and extended headers for what does not fit). Names are
 * bytes on Linux: here they are strings with a character per byte ("latin1"), so that each arrives as
 * it is. Pure.
 */

export interface TarHeader {
  readonly name: string;
  readonly type: keyof typeof TYPES;
  /** Bits below 0o10000. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** Bytes that follow; 0 for what is no file. */
  readonly size: number;
  readonly linkname?: string;
  readonly devmajor?: number;
  readonly devminor?: number;
  /** Further records of an extended header. */
  readonly pax?: Readonly<Record<string, Uint8Array>>;
}

export const BLOCK_BYTES = 512;

const TYPES = {
  file: "0",
  link: "1",
  symlink: "2",
  "character-device": "3",
  "block-device": "4",
  directory: "5",
  fifo: "6",
} as const;
const PAX_TYPE = "x";

const NAME_MAX = 100;
const PREFIX_MAX = 155;
const PLAIN = /^[\x20-\x7e]*$/;
/** The largest numbers of seven and of eleven octal digits. */
const ID_MAX = 0o7777777;
const SIZE_MAX = 0o77777777777;

/** One block, or three and more when an extended header comes before it. */
export function tarHeader(header: TarHeader): Uint8Array {
  const records: Uint8Array[] = [];
  const text = (key: string, value: string) =>
    records.push(paxRecord(key, Buffer.from(value, "latin1")));
  const name = plainName(header.name);
  if (name === undefined) text("path", header.name);
  const link = header.linkname ?? "";
  const isPlainLink = link.length <= NAME_MAX && PLAIN.test(link);
  if (!isPlainLink) text("linkpath", link);
  if (header.uid > ID_MAX) text("uid", String(header.uid));
  if (header.gid > ID_MAX) text("gid", String(header.gid));
  if (header.size > SIZE_MAX) text("size", String(header.size));
  for (const [key, value] of Object.entries(header.pax ?? {})) records.push(paxRecord(key, value));
  const block = ustar(TYPES[header.type], {
    ...header,
    ...(name ?? { name: "LongName", prefix: "" }),
    linkname: isPlainLink ? link : "LongName",
  });
  return records.length === 0 ? block : Buffer.concat([paxBlocks(Buffer.concat(records)), block]);
}

/** How many bytes fill up the last block of a content. */
export function paddingOf(size: number): number {
  return -size & (BLOCK_BYTES - 1);
}

/** Undefined for what the two fields cannot hold. */
function plainName(full: string): { readonly name: string; readonly prefix: string } | undefined {
  if (!PLAIN.test(full)) return undefined;
  if (full.length <= NAME_MAX) return { name: full, prefix: "" };
  const cut = full.indexOf("/", full.length - NAME_MAX - 1);
  if (cut < 1 || cut > PREFIX_MAX || cut === full.length - 1) return undefined;
  return { name: full.slice(cut + 1), prefix: full.slice(0, cut) };
}

type UstarFields = Omit<TarHeader, "type" | "pax"> & { readonly prefix: string };

function ustar(type: string, header: UstarFields): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  const number = (value: number, max: number, at: number, digits: number) =>
    block.write((value > max ? 0 : value).toString(8).padStart(digits, "0"), at, "latin1");
  block.write(header.name, 0, "latin1");
  number(header.mode, ID_MAX, 100, 7);
  number(header.uid, ID_MAX, 108, 7);
  number(header.gid, ID_MAX, 116, 7);
  number(header.size, SIZE_MAX, 124, 11);
  number(Math.max(0, header.mtime), SIZE_MAX, 136, 11);
  block.write("        ", 148, "latin1");
  block.write(type, 156, "latin1");
  block.write(header.linkname ?? "", 157, "latin1");
  block.write("ustar\u000000", 257, "latin1");
  number(header.devmajor ?? 0, ID_MAX, 329, 7);
  number(header.devminor ?? 0, ID_MAX, 337, 7);
  block.write(header.prefix, 345, "latin1");
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

/** An extended header and its content, each filled up to whole blocks. */
function paxBlocks(content: Uint8Array): Uint8Array {
  const header = ustar(PAX_TYPE, {
    name: "PaxHeader",
    prefix: "",
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtime: 0,
    size: content.length,
  });
  return Buffer.concat([header, content, Buffer.alloc(paddingOf(content.length))]);
}

function paxRecord(key: string, value: Uint8Array): Uint8Array {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from("\n")]);
  // The length counts its own digits.
  let digits = 1;
  while (String(rest.length + digits).length > digits) digits += 1;
  return Buffer.concat([Buffer.from(String(rest.length + digits)), rest]);
}
