/** Short port syntax, `[[IP:]PUBLISHED:]TARGET[/PROTOCOL]` with ranges, → one long form per port. */

import type { Mapping, Value } from "./document.ts";
import { isMapping, textOf } from "./document.ts";
import { type Path, Refusal } from "./refusal.ts";

const PORT_MAX = 65_535;

export interface Ports {
  readonly ports: readonly Mapping[];
  readonly warnings: readonly string[];
}

export function expandPort(value: Value, path: Path): Ports {
  if (isMapping(value)) return longPort(value, path);
  const text = textOf(value);
  const match = /^(?:(?:(\[[^\]]*\]|[^:]*):)?([^:/]*):)?([^:/]+)(?:\/([^/]*))?$/.exec(text);
  if (match === null) throw new Refusal(`Invalid containerPort: ${text}`, path);
  const [, ip = "", published = "", target = "", protocol = "tcp"] = match;
  const proto = protocol.toLowerCase();
  if (!["tcp", "udp", "sctp"].includes(proto))
    throw new Refusal(`Invalid proto: ${protocol}`, path);
  const targets = range(target, "containerPort", text, path);
  const sources = published === "" ? [] : range(published, "hostPort", text, path);
  if (sources.length > 0 && sources.length !== targets.length) {
    throw new Refusal(
      `Invalid ranges specified for container and host Ports: ${target} and ${published}`,
      path,
    );
  }
  const warnings: string[] = [];
  const ports = targets.map((port, index): Mapping => {
    const source = sources[index];
    if (ip !== "" && ip !== "0.0.0.0") {
      const shown = `${ip}:${source ?? ""}:${port}/${proto}`;
      warnings.push(`ignoring IP-address (${shown}) service will listen on '0.0.0.0'`);
    }
    return {
      mode: "ingress",
      target: port,
      ...(source === undefined ? {} : { published: source }),
      protocol: proto,
    };
  });
  return { ports, warnings };
}

/** `name` and `app_protocol` tell people and tools of it; a published range is the short syntax's. */
function longPort(port: Mapping, path: Path): Ports {
  const { name: _, app_protocol: __, host_ip: ip, published, ...rest } = port;
  const text = textOf(published ?? "");
  const number = text === "" ? undefined : Number(text);
  if (number !== undefined && !(Number.isInteger(number) && number >= 0 && number <= PORT_MAX)) {
    throw new Refusal(`Invalid hostPort: ${text}`, [...path, "published"]);
  }
  const address = typeof ip === "string" && ip !== "" && ip !== "0.0.0.0" ? ip : undefined;
  const shown = `${address}:${text}:${textOf(port.target ?? "")}`;
  return {
    ports: [{ ...rest, ...(number === undefined ? {} : { published: number }) }],
    warnings:
      address === undefined
        ? []
        : [`ignoring IP-address (${shown}) service will listen on '0.0.0.0'`],
  };
}

function range(text: string, kind: string, whole: string, path: Path): readonly number[] {
  const match = /^(\d+)(?:-(\d+))?$/.exec(text);
  const first = Number(match?.[1] ?? Number.NaN);
  const last = match?.[2] === undefined ? first : Number(match[2]);
  if (!(first <= last && last <= PORT_MAX)) throw new Refusal(`Invalid ${kind}: ${whole}`, path);
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
