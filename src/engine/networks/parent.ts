/**
 * The interface of the host under a macvlan network: one that is there, a VLAN of one ("eth0.50",
 * made when it is missing), or without any a pair that leads nowhere, on which containers have each
 * other and nothing else. What we made bears our mark and goes with its network.
 */

import { EngineError, messageOf } from "#base/error.ts";
import { type IpLink, ipBatch } from "#platform/net/ip.ts";
import type { NetworkRecord } from "./records.ts";

const INTERFACE = /^[\w.-]{1,15}$/;
const VLAN_MAX = 4094;

export const PARENT_OPTION = "parent";
export const MODE_OPTION = "macvlan_mode";
/** The one mode that neighbours on one host talk in; the others need a switch that knows of it. */
export const MODES: readonly string[] = ["bridge", "private", "vepa", "passthru"];

/** What a macvlan network of this id lies on when its user names no parent. */
export function dummyName(id: string): string {
  return `dm-${id.slice(0, 12)}`;
}

/** Checks the options of a macvlan network; the name of its parent. */
export function parentOf(options: Readonly<Record<string, string>>, id: string): string {
  const parent = options[PARENT_OPTION] ?? "";
  const mode = options[MODE_OPTION] ?? "";
  if (mode !== "" && !MODES.includes(mode)) {
    throw new EngineError("invalid-argument", `requested macvlan mode '${mode}' is not valid`);
  }
  if (parent === "") return dummyName(id);
  // It becomes part of commands.
  if (!INTERFACE.test(parent)) {
    throw new EngineError("invalid-argument", `invalid parent interface name: ${parent}`);
  }
  if (parent === "lo") {
    throw new EngineError(
      "invalid-argument",
      "loopback interface is not a valid macvlan parent link",
    );
  }
  return parent;
}

/** The parent is there and up; `tag` marks what is made for it. */
export async function ensureParent(
  { id, bridge: parent }: NetworkRecord,
  links: readonly IpLink[],
  tag: string,
): Promise<void> {
  if (links.some(({ ifname }) => ifname === parent)) return;
  const lonely = parent === dummyName(id);
  const peer = `dp-${id.slice(0, 12)}`;
  try {
    await ipBatch([
      // Not of the type dummy, which a kernel may be without. Its other end gives it a carrier.
      lonely ? `link add name ${parent} type veth peer name ${peer}` : vlanCommand(parent, links),
      ...(lonely ? [`link set dev ${peer} up`] : []),
      `link set dev ${parent} alias ${tag}`,
      `link set dev ${parent} up`,
    ]);
  } catch (error) {
    throw new EngineError("internal", `cannot make the interface ${parent}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function vlanCommand(name: string, links: readonly IpLink[]): string {
  const dot = name.lastIndexOf(".");
  const [below, vlan] = [name.slice(0, Math.max(dot, 0)), name.slice(dot + 1)];
  if (dot <= 0 || !/^\d+$/.test(vlan)) {
    throw new EngineError(
      "internal",
      `invalid subinterface vlan name ${name}, example formatting is eth0.10`,
    );
  }
  const number = Number(vlan);
  if (number < 1 || number > VLAN_MAX) {
    throw new EngineError("internal", `vlan id must be between 1-${VLAN_MAX}, received: ${vlan}`);
  }
  if (!links.some(({ ifname }) => ifname === below)) {
    throw new EngineError(
      "internal",
      `failed to find master interface ${below} on the Docker host: Link not found`,
    );
  }
  return `link add link ${below} name ${name} type vlan id ${number}`;
}
