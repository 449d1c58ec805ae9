/** `skep service explain`: why each task is where it is, and what an update waits for. */

import type { CommandContext } from "../command.ts";
import type { ServiceObject } from "../swarm/types.ts";

interface Explanation {
  readonly Waits: readonly string[] | null;
  readonly Tasks:
    | readonly {
        readonly TaskID: string;
        readonly Name: string;
        readonly State: string;
        readonly DesiredState: string;
        readonly Summary: string;
        readonly Nearest: string;
        readonly Error: string;
        readonly Nodes:
          | readonly {
              readonly Hostname: string;
              readonly NodeID: string;
              readonly Lacks: readonly string[] | null;
            }[]
          | null;
      }[]
    | null;
}

/** Nodes listed under a task at most; the refusals above count them all. */
const NODES_MAX = 20;

export async function explain({ args, client, flags, stdout }: CommandContext): Promise<number> {
  const name = args[0] ?? "";
  const { ID, Spec } = await client.get<ServiceObject>(`/services/${name}`);
  const explanation = await client.get<Explanation>(`/services/${ID}/explain`);
  if (flags.string("format") === "json") {
    stdout.write(`${JSON.stringify(explanation)}\n`);
    return 0;
  }
  const waits = explanation.Waits ?? [];
  const tasks = explanation.Tasks ?? [];
  if (waits.length === 0 && tasks.length === 0) {
    stdout.write(`${Spec.Name}: all tasks are as they shall be\n`);
    return 0;
  }
  for (const line of waits) stdout.write(`${Spec.Name}: ${line}\n`);
  for (const task of tasks) {
    stdout.write(`${task.Name} (${task.State}, wanted ${task.DesiredState}): ${task.Summary}\n`);
    if (task.Error !== "" && !task.Summary.includes(task.Error)) {
      stdout.write(`  last error: ${task.Error}\n`);
    }
    if (task.Nearest !== "") stdout.write(`  nearest: ${task.Nearest}\n`);
    const nodes = task.Nodes ?? [];
    for (const { Hostname, NodeID, Lacks } of nodes.slice(0, NODES_MAX)) {
      const verdict = (Lacks ?? []).length === 0 ? "would take it" : (Lacks ?? []).join("; ");
      stdout.write(`  ${Hostname === "" ? NodeID : Hostname}: ${verdict}\n`);
    }
    if (nodes.length > NODES_MAX) {
      stdout.write(`  and ${nodes.length - NODES_MAX} nodes more: --format json\n`);
    }
  }
  return 0;
}
