/**
 * A lab: a name, a number, and the hosts under it. The name is in every folder, namespace and control
 * group (`skep-lab-NAME-…`); the number is in the addresses (10.99.NUMBER.0/24) and in the names of
 * links, which the kernel limits to 15 bytes. A number is claimed by a symlink that holds the name,
 * made before anything else: it is atomic, and `lab down` finds it after any crash.
 */

import { existsSync, mkdirSync, readdirSync, readlinkSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { EngineError } from "#base/error.ts";

const RUN_ROOT = "/run/skep-lab";
const DATA_ROOT = "/var/lib/skep-lab";
const NETNS_FOLDER = "/run/netns";
/** Symlinks NUMBER → NAME. */
const CLAIMS = join(RUN_ROOT, ".networks");
/** 10.99.0.0/24 to 10.99.255.0/24. */
const MAX_LABS = 256;

export const DEFAULT_LAB = "default";
/** Room for `-h50` and `/containerd/containerd.sock` within a socket's 107 bytes. */
const NAME_PATTERN = /^[a-z0-9][a-z0-9.-]{0,31}$/;

export interface Lab {
  readonly name: string;
  /** Undefined: nothing of it has a network, only leftovers of a crash. */
  readonly number: number | undefined;
  readonly runRoot: string;
  readonly dataRoot: string;
  /** Under each controller's root, without a leading slash. */
  readonly cgroup: string;
}

/** A lab that has its network. */
export interface NumberedLab extends Lab {
  readonly number: number;
}

export interface LabHost {
  readonly lab: string;
  readonly name: string;
  readonly number: number;
  readonly address: string;
  readonly gateway: string;
  readonly bridge: string;
  readonly netns: string;
  readonly netnsPath: string;
  readonly veth: string;
  readonly execRoot: string;
  readonly dataRoot: string;
  /** As `Lab.cgroup`. */
  readonly cgroup: string;
  readonly socket: string;
  readonly logFile: string;
}

/** The lab that `--name` or SKEP_LAB asks for. */
export function labName(flag: string | undefined, env: NodeJS.ProcessEnv): string {
  const name = flag ?? (env["SKEP_LAB"] || DEFAULT_LAB);
  if (NAME_PATTERN.test(name)) return name;
  throw new EngineError(
    "invalid-argument",
    `invalid lab name ${JSON.stringify(name)}: at most 32 of a-z 0-9 . - and a letter or digit first`,
  );
}

export function labOf(name: string): Lab {
  const number = [...claims()].find(([, claimed]) => claimed === name)?.[0];
  return {
    name,
    number,
    runRoot: join(RUN_ROOT, name),
    dataRoot: join(DATA_ROOT, name),
    cgroup: `skep-lab/${name}`,
  };
}

export function labHost(lab: NumberedLab, number: number): LabHost {
  const name = `h${number}`;
  const execRoot = join(lab.runRoot, name);
  const netns = `skep-lab-${lab.name}-${name}`;
  return {
    lab: lab.name,
    name,
    number,
    address: `10.99.${lab.number}.${number}`,
    gateway: gatewayOf(lab),
    bridge: bridgeOf(lab.number),
    netns,
    netnsPath: join(NETNS_FOLDER, netns),
    veth: `${bridgeOf(lab.number)}${name}`,
    execRoot,
    dataRoot: join(lab.dataRoot, name),
    cgroup: `${lab.cgroup}/${name}`,
    socket: `unix://${join(execRoot, "skep.sock")}`,
    logFile: join(lab.dataRoot, `${name}.log`),
  };
}

/** The machine's own address in the lab, the hosts' default route. */
export function gatewayOf(lab: NumberedLab): string {
  return `10.99.${lab.number}.254`;
}

export function bridgeOf(number: number): string {
  return `skep-lab${number}`;
}

/** The number of the lab that a bridge or a veth is of; undefined for other links. */
export function numberOfLink(link: string): number | undefined {
  const match = /^skep-lab(\d+)(h\d+)?$/.exec(link);
  return match === null ? undefined : Number(match[1]);
}

export function isLinkOf(number: number, link: string): boolean {
  return numberOfLink(link) === number;
}

export function isClaimed(number: number): boolean {
  return claims().has(number);
}

/** Every lab of which anything is left, by name. */
export function allLabs(): readonly Lab[] {
  const names = new Set([
    ...claims().values(),
    ...entries(RUN_ROOT),
    ...entries(DATA_ROOT),
    ...entries(NETNS_FOLDER).flatMap((netns) => hostOfNetns(netns)?.lab ?? []),
  ]);
  return [...names]
    .filter((name) => NAME_PATTERN.test(name))
    .sort()
    .map(labOf);
}

/** The hosts that exist, by their namespaces. */
export function hostsOf(lab: Lab): readonly LabHost[] {
  const { number } = lab;
  if (number === undefined) return [];
  return entries(NETNS_FOLDER)
    .flatMap((netns) => {
      const found = hostOfNetns(netns);
      return found?.lab === lab.name ? [labHost({ ...lab, number }, found.number)] : [];
    })
    .sort((a, b) => a.number - b.number);
}

/** `skep-lab-NAME-hN`; the last part is the host's, so a name may hold what looks like one. */
function hostOfNetns(netns: string): { readonly lab: string; readonly number: number } | undefined {
  const match = /^skep-lab-(.+)-h(\d+)$/.exec(netns);
  return match === null ? undefined : { lab: match[1] ?? "", number: Number(match[2]) };
}

/**
 * Takes a number for a new lab: 0 for the default, else the lowest that is free.
 * @param isUsed whether something on the machine has addresses in 10.99.NUMBER.0/24 already.
 */
export function claimNumber(name: string, isUsed: (number: number) => boolean): NumberedLab {
  mkdirSync(CLAIMS, { recursive: true, mode: 0o755 });
  for (let number = name === DEFAULT_LAB ? 0 : 1; number < MAX_LABS; number += 1) {
    if (claims().has(number) || isUsed(number)) continue;
    try {
      symlinkSync(name, join(CLAIMS, String(number)));
      return { ...labOf(name), number };
    } catch (error) {
      // Another `lab up` was faster.
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
  throw new EngineError(
    "resource-exhausted",
    'no 10.99.N.0/24 is free for a lab; "skep lab ls" lists those there are',
  );
}

export function releaseNumber(number: number): void {
  rmSync(join(CLAIMS, String(number)), { force: true });
}

/** The folders that all labs share, when no lab is left. */
export function removeSharedFolders(): void {
  if (claims().size > 0 || entries(RUN_ROOT).length > 0 || entries(DATA_ROOT).length > 0) return;
  rmSync(RUN_ROOT, { recursive: true, force: true });
  rmSync(DATA_ROOT, { recursive: true, force: true });
}

function claims(): ReadonlyMap<number, string> {
  return new Map(
    entries(CLAIMS, true).map((entry) => [Number(entry), readlinkSync(join(CLAIMS, entry))]),
  );
}

function entries(folder: string, hidden = false): readonly string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).filter((entry) => hidden || !entry.startsWith("."));
}
