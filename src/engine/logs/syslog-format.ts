/** Messages in the formats of syslog, and docker's options for it. Pure. */

import { EngineError } from "#base/error.ts";

export type SyslogFormat = "unix" | "rfc3164" | "rfc5424" | "rfc5424micro";

export interface SyslogTarget {
  readonly kind: "unixgram" | "unix" | "udp" | "tcp" | "tcp+tls";
  /** Path, or "" for the host's own syslog. */
  readonly path: string;
  readonly host: string;
  readonly port: number;
}

const SYSLOG_PORT = 514;
/** By number; 12 to 15 have no name that anybody uses. */
const FACILITIES =
  "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp - - - - local0 local1 local2 local3 local4 local5 local6 local7".split(
    " ",
  );
const DAEMON = 3;
const SEVERITY = { stdout: 6, stderr: 3 } as const;

/** `address` "" = the host's own. */
export function parseSyslogAddress(address: string): SyslogTarget {
  if (address === "") return { kind: "unixgram", path: "", host: "", port: 0 };
  const match = /^(unixgram|unix|udp|tcp|tcp\+tls):\/\/(.*)$/.exec(address);
  const [, kind = "", rest = ""] = match ?? [];
  if (match === null) throw invalid(`unsupported syslog address: ${address}`);
  if (kind === "unix" || kind === "unixgram") return { kind, path: rest, host: "", port: 0 };
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:/]+))(?::(\d{1,5}))?$/.exec(rest) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined) throw invalid(`invalid syslog address: ${address}`);
  return {
    kind: kind as SyslogTarget["kind"],
    path: "",
    host,
    port: port === undefined ? SYSLOG_PORT : Number(port),
  };
}

export function parseFacility(text: string): number {
  if (text === "") return DAEMON;
  const found = text === "-" ? -1 : FACILITIES.indexOf(text);
  if (found >= 0) return found;
  if (/^\d{1,2}$/.test(text) && Number(text) < FACILITIES.length) return Number(text);
  throw invalid(`invalid syslog facility: ${text}`);
}

export function parseFormat(text: string): SyslogFormat {
  if (text === "") return "unix";
  if (text === "rfc3164" || text === "rfc5424" || text === "rfc5424micro") return text;
  throw invalid(`Invalid syslog format: ${text}`);
}

export interface SyslogMessage {
  readonly stream: "stdout" | "stderr";
  readonly timeNs: bigint;
  readonly text: string;
}

export interface SyslogHeader {
  readonly format: SyslogFormat;
  readonly facility: number;
  readonly hostname: string;
  readonly tag: string;
  readonly pid: number;
}

export function formatSyslog(header: SyslogHeader, message: SyslogMessage): string {
  const { format, facility, hostname, tag, pid } = header;
  const priority = facility * 8 + SEVERITY[message.stream];
  const at = new Date(Number(message.timeNs / 1_000_000n));
  switch (format) {
    case "unix":
      return `<${priority}>${stamp(at)} ${tag}[${pid}]: ${message.text}`;
    case "rfc3164":
      return `<${priority}>${stamp(at)} ${hostname} ${tag}[${pid}]: ${message.text}`;
    case "rfc5424":
    case "rfc5424micro": {
      const micros = String((message.timeNs / 1_000n) % 1_000_000n).padStart(6, "0");
      const fraction = format === "rfc5424micro" ? `.${micros}` : "";
      const time = `${at.toISOString().slice(0, 19)}${fraction}Z`;
      return `<${priority}>1 ${time} ${hostname} ${tag} ${pid} ${tag} - ${message.text}`;
    }
  }
}

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

/** "Jan _2 15:04:05" in local time, as RFC 3164 has it. */
function stamp(at: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const day = String(at.getDate()).padStart(2, " ");
  const time = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
  return `${MONTHS[at.getMonth()] ?? ""} ${day} ${time}`;
}

function invalid(message: string): EngineError {
  return new EngineError("invalid-argument", message);
}
