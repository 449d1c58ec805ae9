/** Points in time between protobuf's seconds and nanoseconds and RFC 3339 text. */

const MAX_DATE_S = 8_640_000_000_000n;

/** "2016-08-18T10:44:24.496525531Z": no more digits than needed. */
export function fromUnixSeconds(seconds: bigint, nanos: number): string {
  const fraction = nanos === 0 ? "" : `.${digits(nanos).replace(/0+$/, "")}`;
  return `${wholeSecond(seconds)}${fraction}Z`;
}

/** The same with nine digits always, as docker stamps log lines. */
export function fixedWidthTime(seconds: bigint, nanos: number): string {
  return `${wholeSecond(seconds)}.${digits(nanos)}Z`;
}

function wholeSecond(seconds: bigint): string {
  const limited = seconds > MAX_DATE_S ? MAX_DATE_S : seconds < -MAX_DATE_S ? -MAX_DATE_S : seconds;
  return new Date(Number(limited) * 1_000).toISOString().replace(/\.\d+Z$/, "");
}

function digits(nanos: number): string {
  return String(nanos).padStart(9, "0");
}
