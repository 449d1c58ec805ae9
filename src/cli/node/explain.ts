/** `skep node explain`: a node, and the tasks that it refuses or has not brought up. */

import type { CommandContext } from "../command.ts";
import type { NodeObject } from "../swarm/types.ts";

interface NodeTask {
  readonly TaskID: string;
  readonly Name: string;
  readonly State: string;
  readonly Reasons: readonly string[] | null;
}

interface Explanation {
  readonly TakesNone: string;
  readonly Refused: readonly NodeTask[] | null;
  readonly Waiting: readonly NodeTask[] | null;
  readonly LeftOut: number;
}

export function ask({ client }: CommandContext, { ID }: NodeObject): Promise<Explanation> {
  return client.get<Explanation>(`/nodes/${ID}/explain`);
}

export async function explain(context: CommandContext): Promise<number> {
  const { args, client, flags, stdout } = context;
  const node = await client.get<NodeObject>(`/nodes/${args[0] ?? ""}`);
  const explanation = await ask(context, node);
  stdout.write(
    flags.string("format") === "json"
      ? `${JSON.stringify(explanation)}\n`
      : `${explanationLines(node, explanation).join("\n")}\n`,
  );
  return 0;
}

export function explanationLines(node: NodeObject, explanation: Explanation): readonly string[] {
  const name = node.Description.Hostname ?? node.ID;
  const { TakesNone, LeftOut } = explanation;
  const refused = explanation.Refused ?? [];
  const waiting = explanation.Waiting ?? [];
  if (TakesNone === "" && refused.length + waiting.length === 0) {
    return [`${name}: it refuses no task, and all of its own are as they shall be`];
  }
  const told = ({ Name, State, Reasons }: NodeTask) =>
    `  ${Name} (${State}): ${(Reasons ?? []).join("; ")}`;
  return [
    ...(TakesNone === "" ? [] : [`${name} takes no tasks: ${TakesNone}`]),
    ...(refused.length === 0 ? [] : [`Tasks without a node that ${name} refuses:`]),
    ...refused.map(told),
    ...(waiting.length === 0 ? [] : [`Tasks on ${name} that are not up:`]),
    ...waiting.map(told),
    ...(LeftOut === 0 ? [] : [`and ${LeftOut} tasks more`]),
  ];
}
