/**
 * Word that somebody changed what may be ours: links, addresses, routes, rules, neighbours,
 * forwarding entries, nftables. Lines of the monitors of iproute2 and nft, of which only those count
 * that name one of our objects. A hint to look at once; who misses one looks every few seconds anyhow.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Clock, Timer } from "#base/ports.ts";

const MONITORS: readonly (readonly string[])[] = [
  ["ip", "monitor", "link", "address", "route", "neigh", "rule"],
  ["bridge", "monitor", "fdb"],
  ["nft", "monitor"],
];
/** Devices, nftables tables, origin of routes and rules. */
const OURS = /\b(?:ov-|vx-|wg-|skep_overlay\b|proto 115\b|fwmark 0x5ce0)/;
const RESTART_MS = 5_000;
/** A monitor with nothing to tell would outlive an engine that was killed. */
const WITH_US = ["setpriv", "--pdeathsig", "KILL"];

export interface Monitor {
  /** False while one of the programs does not run: what it would tell is not heard of. */
  readonly listening: boolean;
  close(): void;
}

export function startMonitor(clock: Clock, onHint: () => void): Monitor {
  const children = new Set<ChildProcess>();
  const timers = new Set<Timer>();
  let closed = false;
  const start = (words: readonly string[]) => {
    const [program = "", ...args] = [...WITH_US, ...words];
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "ignore"] });
    children.add(child);
    let ended = false;
    const end = () => {
      if (ended) return;
      ended = true;
      children.delete(child);
      if (closed) return;
      const timer = clock.setTimer(RESTART_MS, () => {
        timers.delete(timer);
        start(words);
      });
      timers.add(timer);
    };
    child.on("error", end);
    child.on("exit", end);
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (OURS.test(line)) onHint();
    });
  };
  for (const words of MONITORS) start(words);
  return {
    get listening() {
      return children.size === MONITORS.length;
    },
    close: () => {
      closed = true;
      for (const timer of timers) timer.cancel();
      for (const child of children) child.kill("SIGKILL");
    },
  };
}
