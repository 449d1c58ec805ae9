/** What gRPC puts into header fields: paths, deadlines, statuses, metadata. */

import type { HeaderField } from "#wire/http2/hpack.ts";

const CONTENT_TYPE = "application/grpc";
/** Fields that are gRPC's own and no metadata of a call. */
const RESERVED: ReadonlySet<string> = new Set(["te", "content-type"]);
const UNIT_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

export function field(fields: readonly HeaderField[], name: string): string | undefined {
  for (const [found, value] of fields) if (found === name) return value;
  return undefined;
}

/** "application/grpc", maybe with the name of a message format behind it. */
export function isGrpc(contentType: string | undefined): boolean {
  if (contentType === undefined || !contentType.startsWith(CONTENT_TYPE)) return false;
  const next = contentType[CONTENT_TYPE.length];
  return next === undefined || next === "+" || next === ";";
}

/** Milliseconds of a `grpc-timeout`; undefined for what is none. */
export function parseTimeout(text: string): number | undefined {
  const match = /^(\d{1,8})([HMSmun])$/.exec(text);
  const unit = UNIT_MS[match?.[2] ?? ""];
  return match === null || unit === undefined ? undefined : Number(match[1]) * unit;
}

/** At most eight digits are allowed. */
export function formatTimeout(timeoutMs: number): string {
  const ms = Math.max(1, Math.ceil(timeoutMs));
  return ms < 1e8 ? `${ms}m` : `${Math.min(Math.ceil(ms / 1_000), 99_999_999)}S`;
}

/** A message as `grpc-message` carries it: UTF-8 with all but printable ASCII percent-encoded. */
export function encodeText(text: string): string {
  if (/^[ -$&-~]*$/.test(text)) return text;
  let encoded = "";
  for (const byte of Buffer.from(text)) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += isPlain
      ? String.fromCharCode(byte)
      : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

/** What is not well encoded is shown as it came. */
export function decodeText(text: string): string {
  if (!text.includes("%")) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The metadata of a call; of fields that repeat, the first. */
export function metadataOf(fields: readonly HeaderField[]): Readonly<Record<string, string>> {
  const metadata: Record<string, string> = {};
  for (const [name, value] of fields) {
    const isMetadata = !name.startsWith(":") && !name.startsWith("grpc-") && !RESERVED.has(name);
    if (isMetadata && !Object.hasOwn(metadata, name)) metadata[name] = value;
  }
  return metadata;
}

/** Metadata as fields; values are printable ASCII, and others make the call fail at the peer. */
export function metadataFields(metadata: Readonly<Record<string, string>>): HeaderField[] {
  return Object.entries(metadata).map(([name, value]) => [name.toLowerCase(), encodeValue(value)]);
}

/** Header fields hold one byte per character; nothing may end the line early. */
function encodeValue(value: string): string {
  return /^[ -~]*$/.test(value) ? value : encodeText(value);
}
