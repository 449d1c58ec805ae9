/**
 * The interface of the host under a macvlan or ipvlan network: one that is there, a VLAN of one ("eth0.50",
 * made when it is missing), or without any a pair that leads nowhere, on which containers have each
 * other and nothing else. What we made bears our mark and goes with its network.
 */

import { EngineError, messageOf } from "#base/error.ts";
import { type IpLink, ipBatch } from "#platform/net/ip.ts";
import type { NetworkRecord } from "./records.ts";

const INTERFACE = /^[\w.-]{1,15}$/;
const VLAN_MAX = 4094;

export const PARENT_OPTION = "parent";

interface DriverOption {
  readonly name: string;
  /** The first is what a network has that does not say. */
  readonly values: readonly [string, ...string[]];
  /** Docker's words for any other; %s is what was asked for. */
  readonly refusal: string;
}

interface ParentDriver {
  /** Beginning of the name of a parent of our own making. */
  readonly prefix: string;
  readonly mode: DriverOption;
  readonly flag?: DriverOption;
}

const DRIVERS: Readonly<Record<string, ParentDriver>> = {
  macvlan: {
    prefix: "dm-",
    mode: {
      name: "macvlan_mode",
      // The one mode that neighbours on one host talk in; the others need a switch that knows of it.
      values: ["bridge", "private", "vepa", "passthru"],
      refusal:
        "requested macvlan mode '%s' is not valid, 'bridge' mode is the macvlan driver default",
    },
  },
  ipvlan: {
    prefix: "di-",
    mode: {
      name: "ipvlan_mode",
      values: ["l2", "l3", "l3s"],
      refusal: "requested ipvlan mode '%s' is not valid, 'l2' mode is the ipvlan driver default",
    },
    flag: {
      name: "ipvlan_flag",
      values: ["bridge", "private", "vepa"],
      refusal: "requested ipvlan flag '%s' is not valid, 'bridge' is the ipvlan driver default",
    },
  },
};

/** How containers' interfaces lie on the parent. */
export interface Subinterface {
  readonly kind: "macvlan" | "ipvlan";
  readonly mode: string;
  /** Of ipvlan alone. */
  readonly flag: string;
}

/** Whether networks of the driver lie on an interface of the host. */
export function hasParent(driver: string): driver is Subinterface["kind"] {
  return driver in DRIVERS;
}

/** Undefined for networks that lie on no parent. */
export function subinterfaceOf({
  driver,
  options,
}: Pick<NetworkRecord, "driver" | "options">): Subinterface | undefined {
  const known = DRIVERS[driver];
  if (known === undefined || !hasParent(driver)) return undefined;
  return {
    kind: driver,
    mode: chosen(known.mode, options),
    flag: known.flag === undefined ? "" : chosen(known.flag, options),
  };
}

/** Whether containers leave by the interface itself, to no router: all there is are routes. */
export function isRouted(record: Pick<NetworkRecord, "driver" | "options">): boolean {
  const found = subinterfaceOf(record);
  return found?.kind === "ipvlan" && found.mode !== "l2";
}

function chosen({ name, values }: DriverOption, options: NetworkRecord["options"]): string {
  return options[name] || values[0];
}

function checkOption(option: DriverOption, options: NetworkRecord["options"]): void {
  const value = chosen(option, options);
  if (option.values.includes(value)) return;
  throw new EngineError("invalid-argument", option.refusal.replace("%s", value));
}

/** What a network of this id lies on when its user names no parent. */
export function dummyName({ driver, id }: Pick<NetworkRecord, "driver" | "id">): string {
  return `${DRIVERS[driver]?.prefix ?? ""}${id.slice(0, 12)}`;
}

/** Checks the options of a network on a parent; the name of the parent. */
export function parentOf(
  driver: Subinterface["kind"],
  options: Readonly<Record<string, string>>,
  id: string,
): string {
  const known = DRIVERS[driver];
  const parent = options[PARENT_OPTION] ?? "";
  if (known !== undefined) checkOption(known.mode, options);
  if (known?.flag !== undefined) checkOption(known.flag, options);
  if (parent === "") return dummyName({ driver, id });
  // It becomes part of commands.
  if (!INTERFACE.test(parent)) {
    throw new EngineError("invalid-argument", `invalid parent interface name: ${parent}`);
  }
  if (parent === "lo") {
    throw new EngineError(
      "invalid-argument",
      `loopback interface is not a valid ${driver} parent link`,
    );
  }
  return parent;
}

/** The parent is there and up; `tag` marks what is made for it. */
export async function ensureParent(
  record: NetworkRecord,
  links: readonly IpLink[],
  tag: string,
): Promise<void> {
  const { id, bridge: parent } = record;
  if (links.some(({ ifname }) => ifname === parent)) return;
  const lonely = parent === dummyName(record);
  const peer = `dp-${id.slice(0, 12)}`;
  const make = lonely
    ? // Not of the type dummy, which a kernel may be without. Its other end gives it a carrier.
      `link add name ${parent} type veth peer name ${peer}`
    : vlanCommand(parent, links);
  try {
    await ipBatch([
      make,
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
