/** Sizes, ages and ports in docker's human form (go-units and docker/cli's formatter). */

/** go-units `HumanSizeWithPrecision`: powers of 1000 ("1.24MB"); its `HumanSize` has four digits. */
export function humanSize(bytes: number, digits = 3): string {
  return scaled(bytes, 1000, ["B", "kB", "MB", "GB", "TB", "PB"], digits);
}

function scaled(bytes: number, step: number, units: readonly string[], digits: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= step && unit < units.length - 1) {
    value /= step;
    unit += 1;
  }
  return `${Number(value.toPrecision(digits))}${units[unit]}`;
}

/** How many digits sums have with docker; single objects have three. */
export const SUM_DIGITS = 4;

/** go-units `BytesSize`: powers of 1024, four significant digits ("15.6GiB"). */
export function humanBytes(bytes: number): string {
  return scaled(bytes, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 4);
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

/** As Go prints a time of UTC: "2024-05-06 07:08:09 +0000 UTC". */
export function utcTime(text: string): string {
  return text
    .replace("T", " ")
    .replace(/(\.\d*?)0*Z$/, (_all, part: string) => (part === "." ? "Z" : `${part}Z`))
    .replace(/Z$/, " +0000 UTC");
}

/** The same of seconds since the epoch. */
export function utcSeconds(seconds: number): string {
  return utcTime(new Date(seconds * 1000).toISOString().replace(/\.\d+Z$/, "Z"));
}

/** "a=1,b=2" */
export function shownLabels(labels: Readonly<Record<string, string>> | null | undefined): string {
  return Object.entries(labels ?? {})
    .map(([key, value]) => `${key}=${value}`)
    .sort(byText)
    .join(",");
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
  return PublicPort !== undefined && PublicPort !== 0 && PublicPort !== PrivatePort;
}

function byText(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

/** The PORTS column of `ps`: neighbours that are not under other numbers together, the others last. */
export function shownPorts(ports: readonly ShownPort[]): string {
  const sorted = [...ports].sort(
    (a, b) =>
      Number(isMapped(a)) - Number(isMapped(b)) ||
      a.PrivatePort - b.PrivatePort ||
      byText(a.IP ?? "", b.IP ?? "") ||
      (a.PublicPort ?? 0) - (b.PublicPort ?? 0) ||
      byText(a.Type, b.Type),
  );
  const groups = new Map<string, { first: number; last: number }>();
  const grouped: string[] = [];
  const mapped: string[] = [];
  const close = (key: string) => {
    const group = groups.get(key);
    if (group !== undefined) grouped.push(shownGroup(key, group.first, group.last));
    groups.delete(key);
  };
  for (const port of sorted) {
    const { IP = "", PrivatePort, PublicPort = 0, Type } = port;
    if (isMapped(port)) {
      mapped.push(`${shownHost(IP)}:${PublicPort}->${PrivatePort}/${Type}`);
      continue;
    }
    const key = PublicPort === 0 ? Type : `${IP}/${Type}`;
    const group = groups.get(key);
    if (group?.last === PrivatePort - 1) group.last = PrivatePort;
    else {
      close(key);
      groups.set(key, { first: PrivatePort, last: PrivatePort });
    }
  }
  for (const key of [...groups.keys()].sort()) close(key);
  return [...grouped, ...mapped].join(", ");
}

function shownGroup(key: string, first: number, last: number): string {
  const slash = key.lastIndexOf("/");
  const range = first === last ? String(first) : `${first}-${last}`;
  const inside = `${range}/${key.slice(slash + 1)}`;
  return slash < 0 ? inside : `${shownHost(key.slice(0, slash))}:${range}->${inside}`;
}

function shownHost(ip: string): string {
  return ip.includes(":") ? `[${ip}]` : ip;
}
