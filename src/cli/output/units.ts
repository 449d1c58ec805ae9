/** Sizes, ages and ports in docker's human form (go-units and docker/cli's formatter). */

/** go-units `HumanSize`: powers of 1000, four significant digits ("1.24MB"). */
export function humanSize(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${Number(value.toPrecision(3))}${units[unit]}`;
}

/** go-units `BytesSize`: powers of 1024, four significant digits ("15.6GiB"). */
export function humanBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number(value.toPrecision(4))}${units[unit]}`;
}

/** go-units `HumanDuration` of a span in seconds ("About a minute", "3 hours", "2 weeks"). */
export function humanDuration(seconds: number): string {
  const whole = Math.floor(seconds);
  if (whole < 1) return "Less than a second";
  if (whole === 1) return "1 second";
  if (whole < 60) return `${whole} seconds`;
  const minutes = Math.floor(seconds / 60);
  if (minutes === 1) return "About a minute";
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.round(seconds / 3600);
  if (hours === 1) return "About an hour";
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 7 * 2) return `${Math.floor(hours / 24)} days`;
  if (hours < 24 * 30 * 2) return `${Math.floor(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.floor(hours / 24 / 30)} months`;
  return `${Math.floor(hours / 24 / 365)} years`;
}

/** "3 hours ago" for a moment in milliseconds since the epoch. */
export function ago(thenMs: number, nowMs: number): string {
  return `${humanDuration(Math.max(0, nowMs - thenMs) / 1000)} ago`;
}

/** As Go prints a time of UTC and templates make it lower case. */
export function goTime(text: string): string {
  return text.replace("T", " ").replace(/Z$/, " +0000 utc");
}

/** docker's ellipsis: at most `length` characters, the last one "…". */
export function ellipsis(text: string, length: number): string {
  const characters = Array.from(text);
  return characters.length <= length ? text : `${characters.slice(0, length - 1).join("")}…`;
}

export interface ShownPort {
  readonly IP?: string;
  readonly PrivatePort: number;
  readonly PublicPort?: number;
  readonly Type: string;
}

/** Under another number than its own. */
function isMapped({ PublicPort, PrivatePort }: ShownPort): boolean {
  return PublicPort !== undefined && PublicPort !== PrivatePort;
}

function byText(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

/** The PORTS column of `ps`: those under other numbers come last. */
export function shownPorts(ports: readonly ShownPort[]): string {
  const sorted = [...ports].sort(
    (a, b) =>
      Number(isMapped(a)) - Number(isMapped(b)) ||
      a.PrivatePort - b.PrivatePort ||
      byText(a.IP ?? "", b.IP ?? ""),
  );
  return sorted
    .map((port) => {
      const inside = `${port.PrivatePort}/${port.Type}`;
      if (port.PublicPort === undefined || port.PublicPort === 0) return inside;
      const host = port.IP?.includes(":") ? `[${port.IP}]` : (port.IP ?? "");
      return `${host}:${port.PublicPort}->${inside}`;
    })
    .join(", ");
}
