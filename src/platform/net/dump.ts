/**
 * A network namespace read back, for comparing it with what it should be: links, neighbours, routes
 * and rules of one origin, forwarding entries. Two or three short processes for all of it.
 */

import { runCommand } from "./command.ts";

export interface DumpedLink {
  readonly ifname: string;
  readonly address?: string;
  readonly mtu: number;
  readonly master?: string;
  readonly ifalias?: string;
  readonly flags: readonly string[];
  readonly linkinfo?: {
    readonly info_kind?: string;
    readonly info_data?: Readonly<Record<string, unknown>>;
    readonly info_slave_data?: Readonly<Record<string, unknown>>;
  };
  readonly addr_info?: readonly {
    readonly local: string;
    readonly prefixlen: number;
    readonly scope: string;
  }[];
}

export interface DumpedRoute {
  /** CIDR, an address, or "default". */
  readonly dst: string;
  readonly dev?: string;
  readonly gateway?: string;
  readonly prefsrc?: string;
  /** "main" or a number. */
  readonly table: string;
}

export interface DumpedRule {
  readonly priority: number;
  readonly family: 4 | 6;
  readonly src: string;
  readonly fwmark?: string;
  readonly iif?: string;
  readonly table: string;
  readonly protocol?: string;
}

export interface DumpedNeighbour {
  readonly dst: string;
  readonly dev: string;
  readonly lladdr?: string;
}

export interface DumpedFdb {
  readonly mac: string;
  readonly ifname: string;
  readonly flags: readonly string[];
  readonly dst?: string;
  readonly master?: string;
  readonly state: string;
}

/** Routes, and rules, that carry the given protocol number. */
export interface DumpedRouting {
  readonly routes: readonly DumpedRoute[];
  readonly rules: readonly DumpedRule[];
}

export interface DumpedHost extends DumpedRouting {
  readonly links: ReadonlyMap<string, DumpedLink>;
  /** Permanent ones. */
  readonly neighbours: readonly DumpedNeighbour[];
  readonly fdb: readonly DumpedFdb[];
}

export async function dumpHost(protocol: number): Promise<DumpedHost> {
  const shows = ["addr show", "neigh show nud permanent", ...routingShows(protocol)];
  const [[links, neighbours, routes, rules4], [rules6], [fdb]] = await Promise.all([
    run("ip", ["-details"], shows),
    run("ip", ["-6", "-details"], ["rule show"]),
    run("bridge", [], ["fdb show"]),
  ]);
  const listed = (links ?? []) as DumpedLink[];
  return {
    links: new Map(listed.map((link) => [link.ifname, link])),
    neighbours: (neighbours ?? []) as DumpedNeighbour[],
    fdb: (fdb ?? []) as DumpedFdb[],
    routes: (routes ?? []) as DumpedRoute[],
    rules: rulesOf(protocol, rules4, rules6),
  };
}

export async function dumpRouting(protocol: number, netns: string): Promise<DumpedRouting> {
  const [[routes, rules4], [rules6]] = await Promise.all([
    run("ip", ["-details"], routingShows(protocol), netns),
    run("ip", ["-6", "-details"], ["rule show"], netns),
  ]);
  return {
    routes: (routes ?? []) as DumpedRoute[],
    rules: rulesOf(protocol, rules4, rules6),
  };
}

function routingShows(protocol: number): readonly string[] {
  return [`route show table all proto ${protocol}`, "rule show"];
}

function rulesOf(
  protocol: number,
  rules4: readonly object[] | undefined,
  rules6: readonly object[] | undefined,
): readonly DumpedRule[] {
  const of = (rules: readonly object[] | undefined, family: 4 | 6) =>
    (rules ?? [])
      .map((rule) => ({ ...(rule as DumpedRule), family }))
      .filter((rule) => rule.protocol === String(protocol));
  return [...of(rules4, 4), ...of(rules6, 6)];
}

/** One JSON list for each of the commands, in their order. */
async function run(
  program: string,
  flags: readonly string[],
  commands: readonly string[],
  netns?: string,
): Promise<readonly (readonly object[])[]> {
  const input = `${commands.join("\n")}\n`;
  const text = await runCommand(program, [...flags, "-json", "-batch", "-"], { input, netns });
  return text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => (JSON.parse(line) as object[]).filter((row) => Object.keys(row).length > 0));
}

/**
 * Runs every command, whatever becomes of those before it; throws what the failed ones said. For
 * independent changes, of which one must not keep back the others.
 */
export async function runAll(
  program: "ip" | "ip -6" | "bridge",
  commands: readonly string[],
  netns?: string,
): Promise<void> {
  if (commands.length === 0) return;
  const [name = "ip", ...flags] = program.split(" ");
  const input = `${commands.join("\n")}\n`;
  await runCommand(name, [...flags, "-force", "-batch", "-"], { input, netns });
}
