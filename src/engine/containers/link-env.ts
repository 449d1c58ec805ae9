/**
 * Variables that a `--link` on the default bridge brings, as in the days before names: where the linked
 * container is, its exposed ports, and its own environment, all under the alias.
 */

import { isErrorCode } from "#base/error.ts";
import type { Container } from "./container.ts";
import type { ContainerContext } from "./context.ts";
import { parsePort } from "./port-bindings.ts";
import type { ContainerRecord } from "./record.ts";

export interface LinkedContainer {
  readonly alias: string;
  /** Of the container that links. */
  readonly parent: string;
  readonly address: string;
  /** "5432/tcp"… */
  readonly ports: readonly string[];
  readonly env: readonly string[];
}

/** Nothing of one that is gone; on other networks names are enough. */
export function linkedEnv(context: ContainerContext, record: ContainerRecord): string[] {
  return (record.endpoints["bridge"]?.Links ?? []).flatMap((link) => {
    const [target = "", alias = target] = link.split(":");
    const other = findLinked(context, target);
    const endpoint = other?.state.network.networks.find(
      ({ networkName }) => networkName === "bridge",
    );
    const address = endpoint?.endpoint.IPAddress ?? "";
    if (other === undefined || address === "") return [];
    const { ExposedPorts: ports, Env: env } = other.record.config;
    return linkEnv({
      alias: alias.replace(/^\//, ""),
      parent: record.name,
      address,
      ports: Object.keys(ports ?? {}),
      env: env ?? [],
    });
  });
}

function findLinked({ registry }: ContainerContext, target: string): Container | undefined {
  try {
    return registry.find(target);
  } catch (error) {
    if (isErrorCode(error, "not-found")) return undefined;
    throw error;
  }
}

/** Every image sets them, and they say nothing of the linked container. */
const NOT_TOLD = ["HOME", "PATH"];

export function linkEnv({ alias, parent, address, ports, env }: LinkedContainer): string[] {
  const prefix = alias.toUpperCase().replaceAll("-", "_");
  const sorted = ports
    .map(parsePort)
    .sort((a, b) => a.port - b.port || (a.protocol === "tcp" ? -1 : 1));
  const url = ({ port, protocol }: Port) => `${protocol}://${address}:${port}`;
  const [first] = sorted;
  return [
    ...(first === undefined ? [] : [`${prefix}_PORT=${url(first)}`]),
    ...rangesOf(sorted).flatMap(([from, to]) => {
      const base = `${prefix}_PORT_${from.port}_${from.protocol.toUpperCase()}`;
      return [
        `${base}_START=${url(from)}`,
        `${base}_PORT_START=${from.port}`,
        `${base}_END=${url(to)}`,
        `${base}_PORT_END=${to.port}`,
      ];
    }),
    ...sorted.flatMap((port) => {
      const base = `${prefix}_PORT_${port.port}_${port.protocol.toUpperCase()}`;
      return [
        `${base}=${url(port)}`,
        `${base}_ADDR=${address}`,
        `${base}_PORT=${port.port}`,
        `${base}_PROTO=${port.protocol}`,
      ];
    }),
    `${prefix}_NAME=/${parent}/${alias}`,
    ...env.flatMap((entry) => {
      const name = entry.split("=", 1)[0] ?? "";
      return entry.includes("=") && !NOT_TOLD.includes(name) ? [`${prefix}_ENV_${entry}`] : [];
    }),
  ];
}

type Port = ReturnType<typeof parsePort>;

/** Runs of ports that follow each other, two and more. */
function rangesOf(sorted: readonly Port[]): (readonly [Port, Port])[] {
  const ranges: [Port, Port][] = [];
  for (const port of sorted) {
    const last = ranges.at(-1);
    if (last?.[1].port === port.port - 1 && last[1].protocol === port.protocol) last[1] = port;
    else ranges.push([port, port]);
  }
  return ranges.filter(([from, to]) => from !== to);
}
