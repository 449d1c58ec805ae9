/** Traffic for a lab: an image that answers who it is and whom it sees, and a steady load on it. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { ServiceSpec } from "#wire/docker/services.ts";
import { type Image, until } from "./lab.ts";
import type { LoadProgress, LoadResult } from "./load-client.ts";

export type { LoadResult } from "./load-client.ts";

export const PROBE: Image = {
  name: "probe:demo",
  script: "test/lab/probe-image/make.sh",
  command: ["probe", "serve", "80"],
};

const SECOND_NS = 1e9;
const ANSWER_TIMEOUT_MS = 5_000;

/**
 * A task takes part when it answers itself; without this, when its process runs. Looked at often only
 * until then: probes are processes, and would take the machine from the traffic.
 */
export const PROBE_HEALTH = {
  Test: ["CMD", "probe", "check", "80"],
  Interval: 15 * SECOND_NS,
  StartPeriod: 10 * SECOND_NS,
  StartInterval: SECOND_NS / 2,
};

/** A service of the probe's image, its port 80 published by the mesh. */
export function probeService(name: string, replicas: number, port: number): ServiceSpec {
  return {
    Name: name,
    Labels: {},
    TaskTemplate: {
      ForceUpdate: 0,
      ContainerSpec: { Image: PROBE.name, Healthcheck: PROBE_HEALTH },
    },
    Mode: { Replicated: { Replicas: replicas } },
    EndpointSpec: {
      Mode: "vip",
      Ports: [{ Protocol: "tcp", TargetPort: 80, PublishedPort: port, PublishMode: "ingress" }],
    },
  };
}

export interface Traffic extends LoadProgress {
  /** Ends the load when all that it began has ended. */
  stop(): Promise<LoadResult>;
}

/**
 * `rate` connections a second over the addresses in turn, from this machine. It begins when each of
 * them answers: a task runs before the last host has heard where.
 */
export async function startTraffic(rate: number, addresses: readonly string[]): Promise<Traffic> {
  for (const address of addresses) await until(`${address} answers`, () => answers(address));
  const program = join(import.meta.dirname, "load-client.ts");
  const words = ["--import", "tsx", program, String(rate), ...addresses];
  const child = spawn(process.execPath, words, { stdio: ["pipe", "pipe", "inherit"] });
  let progress: LoadProgress = { by: {}, failures: [] };
  let last = "";
  createInterface(child.stdout).on("line", (line) => {
    last = line;
    if (line.startsWith('{"by"')) progress = JSON.parse(line) as LoadProgress;
  });
  const ended = once(child, "close");
  await Promise.race([once(child.stdout, "data"), ended]);
  return {
    get by() {
      return progress.by;
    },
    get failures() {
      return progress.failures;
    },
    stop: async () => {
      child.stdin.end();
      await ended;
      if (!last.startsWith('{"answered"')) {
        throw new Error(`the load ended without a result: ${last}`);
      }
      return JSON.parse(last) as LoadResult;
    },
  };
}

/** Whether the probe answers there, in a line as the load asks for it. */
function answers(address: string): Promise<boolean> {
  const at = address.lastIndexOf(":");
  const host = address.slice(0, at).replace(/[[\]]/g, "");
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(address.slice(at + 1)) });
    let answer = "";
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => socket.destroy());
    socket.on("connect", () => socket.write("hello\n"));
    socket.on("data", (data) => (answer += String(data)));
    socket.on("error", () => undefined);
    socket.on("end", () => socket.end());
    socket.on("close", () => resolve(answer.endsWith("\n")));
  });
}
