/**
 * One host of a lab: a network namespace with a veth to the lab's bridge, a hostname of its own, and
 * an engine (with its containerd) under its own roots.
 */

import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { EngineError } from "#base/error.ts";
import {
  bridgeOf,
  claimNumber,
  gatewayOf,
  isClaimed,
  isLinkOf,
  type Lab,
  type LabHost,
  type NumberedLab,
  numberOfLink,
  releaseNumber,
  removeSharedFolders,
} from "./lab.ts";
import { powerCut, removeCgroup } from "./power.ts";

/** Runs a command to its end; throws with what it said when it fails. */
export function command(words: readonly string[], input?: string): string {
  const [program = "", ...args] = words;
  const done = spawnSync(program, args, { input, encoding: "utf8" });
  if (done.status !== 0) {
    throw new EngineError("internal", `${words.join(" ")}: ${done.stderr || done.error?.message}`);
  }
  return done.stdout;
}

/** Claims the name and a number, and makes the bridge. */
export function createLab(name: string, runRoot: string): NumberedLab {
  mkdirSync(join(runRoot, ".."), { recursive: true, mode: 0o755 });
  try {
    mkdirSync(runRoot, { mode: 0o711 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    throw new EngineError(
      "conflict",
      `lab ${name} is already up; "skep lab down --name ${name}" removes it`,
    );
  }
  const lab = claimNumber(name, isUsed);
  const bridge = bridgeOf(lab.number);
  command(
    ["ip", "-batch", "-"],
    [
      `link add ${bridge} type bridge`,
      `addr add ${gatewayOf(lab)}/24 dev ${bridge}`,
      `link set ${bridge} up`,
      "",
    ].join("\n"),
  );
  openWayOut(lab);
  return lab;
}

/**
 * The hosts' way out, as on any machine with an address: what leaves the lab carries this machine's.
 * A dockerd here drops what it does not know (also between ports of our bridge, with br_netfilter):
 * its chain for users is where it is told to let the lab pass.
 */
function openWayOut(lab: NumberedLab): void {
  const bridge = bridgeOf(lab.number);
  command(
    ["nft", "-f", "-"],
    `table ip ${bridge} {
      chain postrouting {
        type nat hook postrouting priority srcnat;
        ip saddr 10.99.${lab.number}.0/24 oifname != "${bridge}" masquerade
      }
    }`,
  );
  writeFileSync("/proc/sys/net/ipv4/ip_forward", "1");
  for (const rule of dockerRules(bridge)) spawnSync("iptables", ["-I", "DOCKER-USER", ...rule]);
}

function closeWayOut(number: number): void {
  const bridge = bridgeOf(number);
  spawnSync("nft", ["delete", "table", "ip", bridge]);
  for (const rule of dockerRules(bridge)) {
    while (spawnSync("iptables", ["-D", "DOCKER-USER", ...rule]).status === 0);
  }
}

function dockerRules(bridge: string): readonly (readonly string[])[] {
  return ["-i", "-o"].map((direction) => [direction, bridge, "-j", "ACCEPT"]);
}

function isUsed(number: number): boolean {
  const prefix = `10.99.${number}.`;
  const routed = command(["ip", "-4", "route", "show", "table", "all", "root", `${prefix}0/24`]);
  return (
    routed.trim() !== "" ||
    linkNames().some((link) => isLinkOf(number, link)) ||
    Object.values(networkInterfaces()).some((addresses) =>
      addresses?.some(({ address }) => address.startsWith(prefix)),
    )
  );
}

export function createNetwork(host: LabHost): void {
  command(["ip", "netns", "add", host.netns]);
  plugIn(host);
}

/** A host whose power was cut has a new kernel, and is plugged in when it starts. */
export function plugIn(host: LabHost): void {
  if (linkNames().includes(host.veth)) return;
  command(
    ["ip", "-batch", "-"],
    [
      `link add ${host.veth} type veth peer name eth0 netns ${host.netns}`,
      `link set ${host.veth} master ${host.bridge} up`,
      "",
    ].join("\n"),
  );
  command(
    ["ip", "-n", host.netns, "-batch", "-"],
    [
      "link set lo up",
      `addr add ${host.address}/24 dev eth0`,
      "link set eth0 up",
      `route add default via ${host.gateway}`,
      "",
    ].join("\n"),
  );
}

/**
 * A power cut: nothing gets out any more, every process dies, and with the kernel all that it was told
 * is gone; what is left is the disk.
 */
export async function cutPower(host: LabHost): Promise<void> {
  spawnSync("ip", ["link", "set", host.veth, "down"]);
  await powerCut(host);
  spawnSync("ip", ["link", "del", host.veth]);
  spawnSync("ip", ["netns", "del", host.netns]);
  command(["ip", "netns", "add", host.netns]);
}

export function setLink(host: LabHost, state: "up" | "down"): void {
  command(["ip", "link", "set", host.veth, state]);
}

/** Starts the host's engine in its namespaces, detached from us; it logs to the host's log file. */
export function startEngine(host: LabHost, extraFlags: readonly string[]): void {
  mkdirSync(host.execRoot, { recursive: true, mode: 0o711 });
  mkdirSync(host.dataRoot, { recursive: true, mode: 0o711 });
  const log = openSync(host.logFile, "a");
  // nsenter and not `ip netns exec`: that one remounts /sys, which hides the cgroups from runc.
  const words = [
    "nsenter",
    `--net=${host.netnsPath}`,
    "unshare",
    "--uts",
    "sh",
    "-c",
    'hostname "$0" && exec "$@"',
    host.name,
    programPath(),
    "engine",
    `--data-root=${host.dataRoot}`,
    `--exec-root=${host.execRoot}`,
    `--cgroup-parent=/${host.cgroup}`,
    `--swarm-default-advertise-addr=${host.address}`,
    "--insecure-registry=10.99.0.0/16",
    ...extraFlags,
  ];
  const child = spawn(words[0] ?? "", words.slice(1), {
    detached: true,
    stdio: ["ignore", log, log],
  });
  child.unref();
}

/** `bin/skep` beside the bundle that runs us. */
function programPath(): string {
  return fileURLToPath(new URL("../bin/skep", import.meta.url));
}

/** The pid of the host's engine, from its pid file, if it is that process. */
export function enginePid(host: LabHost): number | undefined {
  try {
    const pid = Number(readFileSync(join(host.execRoot, "skep.pid"), "utf8").trim());
    const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
    return line.includes(`--exec-root=${host.execRoot}`) ? pid : undefined;
  } catch {
    return undefined;
  }
}

export async function removeHost(host: LabHost): Promise<void> {
  await powerCut(host);
  spawnSync("ip", ["link", "del", host.veth]);
  spawnSync("ip", ["netns", "del", host.netns]);
  rmSync(host.dataRoot, { recursive: true, force: true });
  rmSync(host.logFile, { force: true });
}

/** What is left of a lab when its hosts have gone; its number is given back last. */
export function removeLab(lab: Lab): void {
  if (lab.number !== undefined) removeNetwork(lab.number);
  removeCgroup(lab.cgroup);
  rmSync(lab.dataRoot, { recursive: true, force: true });
  rmSync(lab.runRoot, { recursive: true, force: true });
  if (lab.number !== undefined) releaseNumber(lab.number);
  removeSharedFolders();
}

/**
 * Every link of this network namespace. (`os.networkInterfaces` leaves those without an address out,
 * and /sys shows the namespace that it was mounted in.)
 */
function linkNames(): readonly string[] {
  return command(["ip", "-br", "link", "show"])
    .split("\n")
    .map((line) => line.split(/[@\s]/)[0] ?? "")
    .filter((name) => name !== "");
}

function removeNetwork(number: number): void {
  for (const link of linkNames()) {
    if (isLinkOf(number, link)) spawnSync("ip", ["link", "del", link]);
  }
  closeWayOut(number);
}

/** Networks with our mark that no lab claims: their files were removed by hand. */
export function removeUnclaimedNetworks(): void {
  const numbers = linkNames().map(numberOfLink);
  for (const number of new Set(numbers)) {
    if (number !== undefined && !isClaimed(number)) removeNetwork(number);
  }
}
