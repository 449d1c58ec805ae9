/** What a host of a lab really has: processes, links and folders, against what its engine says it has. */

import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { ContainerSummary } from "#wire/docker/containers.ts";
import type { Lab } from "./lab.ts";

const TASK_LABEL = "com.docker.swarm.task.id";

export interface RunningContainer {
  readonly id: string;
  readonly task: string;
  readonly pid: number;
}

/** The containers of tasks that run on a host. */
export async function containersOf(lab: Lab, host: string): Promise<readonly RunningContainer[]> {
  const listed = await lab.get<readonly ContainerSummary[]>(host, "/containers/json");
  return Promise.all(
    listed.map(async ({ Id, Labels }) => {
      const { State } = await lab.get<{ State: { Pid: number } }>(host, `/containers/${Id}/json`);
      return { id: Id, task: Labels[TASK_LABEL] ?? "", pid: State.Pid };
    }),
  );
}

/** When a process was started, in ticks since boot; undefined: it has ended. */
export function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const [state, ...rest] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return state === "Z" ? undefined : rest[18];
  } catch {
    return undefined;
  }
}

/** What is there without an owner (or the other way round), by its sort; empty when all is well. */
export async function leftovers(
  lab: Lab,
  host: string,
): Promise<Readonly<Record<string, readonly string[]>>> {
  const all = await lab.get<readonly ContainerSummary[]>(host, "/containers/json?all=true");
  const running = all.filter(({ State }) => State === "running").map(({ Id }) => Id);
  const known = all.map(({ Id }) => Id);
  const tasks = new Set((await lab.tasks(host)).map(({ ID }) => ID));
  const run = `/run/skep-lab/${lab.name}/${host}`;
  const links = await linksOf(lab, host);
  const endpoints = all
    .filter(({ State }) => State === "running")
    .reduce((sum, container) => sum + networksOf(container).length, 0);
  const found: Record<string, readonly string[]> = {
    "containers without a task": all
      .filter(({ Labels }) => !tasks.has(Labels[TASK_LABEL] ?? ""))
      .map(({ Id, Names }) => `${Names[0] ?? ""} ${Id}`),
    shims: difference(shimsOf(`${run}/containerd/containerd.sock`), running),
    "containerd's bundles": difference(
      entries(`${run}/containerd/io.containerd.runtime.v2.task/skep`),
      running,
    ),
    "runc's states": difference(entries(`${run}/runc/skep`), running),
    "network endpoints": difference(
      entries(`${run}/networks`).map((name) => name.replace(/\.json$/, "")),
      running,
    ),
    links: links.length === endpoints ? [] : links,
    "folders of streams": entries(`${run}/io`).filter((id) => !known.includes(id)),
    "container folders": difference(
      entries(`/var/lib/skep-lab/${lab.name}/${host}/containers`),
      known,
    ),
  };
  return Object.fromEntries(Object.entries(found).filter(([, items]) => items.length > 0));
}

/** The networks that a container has a link to. */
function networksOf({ NetworkSettings }: ContainerSummary): readonly string[] {
  const names = Object.keys(NetworkSettings?.Networks ?? {});
  return names.filter((name) => name !== "host" && name !== "none");
}

/** The host's ends of its containers' links. */
async function linksOf(lab: Lab, host: string): Promise<readonly string[]> {
  const words = await lab.command("exec", host, "--", "ip", "-br", "link", "show", "type", "veth");
  return words
    .split("\n")
    .map((line) => line.split(/[@\s]/)[0] ?? "")
    .filter((name) => name !== "" && name !== "eth0");
}

/** The containers that have a shim under this containerd. */
function shimsOf(address: string): readonly string[] {
  const lines = execFileSync("ps", ["-eo", "args", "-ww"], { encoding: "utf8" }).split("\n");
  return lines
    .filter((line) => line.includes("containerd-shim") && line.includes(address))
    .map((line) => / -id (\S+)/.exec(line)?.[1] ?? line);
}

/** What only one of the two has, with the side that has it. */
function difference(found: readonly string[], wanted: readonly string[]): readonly string[] {
  return [
    ...found.filter((id) => !wanted.includes(id)).map((id) => `too much: ${id}`),
    ...wanted.filter((id) => !found.includes(id)).map((id) => `missing: ${id}`),
  ];
}

function entries(folder: string): readonly string[] {
  return existsSync(folder) ? readdirSync(join(folder)) : [];
}
