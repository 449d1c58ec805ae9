/**
 * iproute2 as a library: a list of commands becomes one `ip -batch` process, which stops at the
 * first that fails. Listings are its JSON.
 */

import { closeSync, openSync, readFileSync, write, writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { EngineError, messageOf } from "#base/error.ts";
import { runInNetnsOrHere } from "../netns/netns.ts";
import { runCommand } from "./command.ts";

/** Runs commands ("link add …", "addr add …") in order, in the namespace at `netns`. */
export async function ipBatch(commands: readonly string[], netns?: string): Promise<void> {
  if (commands.length === 0) return;
  try {
    await runCommand("ip", ["-batch", "-"], { input: `${commands.join("\n")}\n`, netns });
  } catch (error) {
    const failed = /Command failed -:(\d+)/.exec(messageOf(error))?.[1];
    const command = failed === undefined ? undefined : commands[Number(failed) - 1];
    if (command === undefined) throw error;
    throw new EngineError("internal", `ip ${command}: ${messageOf(error)}`, { cause: error });
  }
}

/** Runs commands of which any may fail, for cleaning up what may not be there. */
export async function ipBatchForce(commands: readonly string[], netns?: string): Promise<void> {
  if (commands.length === 0) return;
  await runCommand("ip", ["-force", "-batch", "-"], {
    input: `${commands.join("\n")}\n`,
    netns,
  }).catch(() => undefined);
}

export interface IpLink {
  readonly ifindex: number;
  readonly ifname: string;
  readonly address?: string;
  readonly mtu: number;
  readonly master?: string;
  readonly ifalias?: string;
  readonly flags: readonly string[];
  readonly linkinfo?: { readonly info_kind?: string };
  readonly addr_info?: readonly {
    readonly family: string;
    readonly local: string;
    readonly prefixlen: number;
    readonly scope: string;
  }[];
}

/** Links with their addresses. */
export async function ipLinks(netns?: string): Promise<readonly IpLink[]> {
  const text = await runCommand("ip", ["-json", "-details", "addr", "show"], { netns });
  return parseListing(text) as readonly IpLink[];
}

export interface IpRoute {
  /** CIDR, an address, or "default". */
  readonly dst: string;
  readonly gateway?: string;
  readonly dev?: string;
}

export async function ipRoutes(
  netns?: string,
  family: "-4" | "-6" = "-4",
): Promise<readonly IpRoute[]> {
  const text = await runCommand("ip", [family, "-json", "route", "show"], { netns });
  return parseListing(text) as readonly IpRoute[];
}

// iproute2 prints empty objects for what a filter left out.
function parseListing(text: string): readonly object[] {
  const rows = text.trim() === "" ? [] : (JSON.parse(text) as object[]);
  return rows.filter((row) => Object.keys(row).length > 0);
}

/** Sets "net.ipv4.ip_forward"-like keys, given as paths under /proc/sys, if they differ. */
export function setSysctl(path: string, value: string, netns?: string): void {
  const file = `/proc/sys/${path}`;
  runInNetnsOrHere(netns, () => {
    if (readFileSync(file, "utf8").trim() !== value) writeFileSync(file, value);
  });
}

/**
 * Sets one without waiting in this thread: the kernel makes those of interfaces wait for its lock on
 * all networks. The file is of the namespace that it is opened in, whoever writes.
 */
export async function writeSysctl(path: string, value: string, netns?: string): Promise<void> {
  const fd = runInNetnsOrHere(netns, () => openSync(`/proc/sys/${path}`, "w"));
  try {
    await promisify(write)(fd, value);
  } finally {
    closeSync(fd);
  }
}

/** A sysctl's value; undefined when the kernel does not have it. */
export function readSysctl(path: string, netns?: string): string | undefined {
  return runInNetnsOrHere(netns, () => {
    try {
      return readFileSync(`/proc/sys/${path}`, "utf8").trim();
    } catch {
      return undefined;
    }
  });
}
