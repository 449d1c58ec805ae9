/** Entries in the native protocol of systemd's journal: a field a line, or with its length. Pure. */

const PRIORITY = { stdout: "6", stderr: "3" } as const;

export interface JournalLine {
  readonly stream: "stdout" | "stderr";
  readonly timeNs: bigint;
  readonly text: string;
  readonly partial: boolean;
}

/** `fields` are the container's own, the same in every entry. */
export function encodeJournal(
  fields: Readonly<Record<string, string>>,
  line: JournalLine,
): Uint8Array {
  const iso = new Date(Number(line.timeNs / 1_000_000n)).toISOString().slice(0, 19);
  const all: readonly (readonly [string, string])[] = [
    ["MESSAGE", line.text],
    ["PRIORITY", PRIORITY[line.stream]],
    ...Object.entries(fields),
    ["SYSLOG_TIMESTAMP", `${iso}.${String(line.timeNs % 1_000_000_000n).padStart(9, "0")}Z`],
    ...(line.partial ? ([["CONTAINER_PARTIAL_MESSAGE", "true"]] as const) : []),
  ];
  return Buffer.concat(all.map(([name, value]) => field(name, value)));
}

function field(name: string, value: string): Buffer {
  if (!value.includes("\n")) return Buffer.from(`${name}=${value}\n`);
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(bytes.length));
  return Buffer.concat([Buffer.from(`${name}\n`), length, bytes, Buffer.from("\n")]);
}

/** A label's or variable's name as the journal takes it: "com.example/x" → "COM_EXAMPLE_X". */
export function journalName(name: string): string {
  return name
    .toUpperCase()
    .replace(/[^A-Z0-9]+/g, "_")
    .replace(/^_+/, "");
}
