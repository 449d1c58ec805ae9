/** `skep node explain` and `node inspect --pretty`: a node, and the tasks that it refuses or has not brought up. */

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

function ask({ client }: CommandContext, { ID }: NodeObject): Promise<Explanation> {
  return client.get<Explanation>(`/nodes/${ID}/explain`);
}

export async function explain(context: CommandContext): Promise<number> {
  const { args, client, flags, stdout } = context;
  const node = await client.get<NodeObject>(`/nodes/${args[0] ?? ""}`);
  const explanation = await ask(context, node);
  stdout.write(
    flags.string("format") === "json"
      ? `${JSON.stringify(explanation)}\n`
      : `${lines(node, explanation).join("\n")}\n`,
  );
  return 0;
}

function lines(node: NodeObject, explanation: Explanation): readonly string[] {
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

/** The human form of `node inspect`, in docker's words, and then the explanation. */
export async function inspectPretty(context: CommandContext): Promise<number> {
  const { args, client, stdout } = context;
  for (const [index, name] of args.entries()) {
    const node = await client.get<NodeObject>(`/nodes/${name}`);
    const { Spec, Description, Status, ManagerStatus } = node;
    const labels = Object.entries(Spec.Labels ?? {}).map(([key, value]) => ` - ${key}=${value}`);
    const engine = Object.entries(Description.Engine.Labels ?? {});
    stdout.write(
      `${[
        ...(index === 0 ? [] : [""]),
        `ID:\t\t\t${node.ID}`,
        ...(labels.length === 0 ? [] : ["Labels:", ...labels]),
        `Hostname:\t\t${Description.Hostname ?? ""}`,
        `Joined at:\t\t${node.CreatedAt}`,
        "Status:",
        ` State:\t\t\t${title(Status.State)}`,
        ...((Status.Message ?? "") === "" ? [] : [` Message:\t\t${Status.Message}`]),
        ` Availability:\t\t${title(Spec.Availability)}`,
        ` Address:\t\t${Status.Addr ?? ""}`,
        ...(ManagerStatus === undefined
          ? []
          : [
              "Manager Status:",
              ` Address:\t\t${ManagerStatus.Addr}`,
              ` Raft Status:\t\t${title(ManagerStatus.Reachability)}`,
              ` Leader:\t\t${ManagerStatus.Leader === true ? "Yes" : "No"}`,
            ]),
        `Engine Version:\t\t${Description.Engine.EngineVersion ?? ""}`,
        ...(engine.length === 0
          ? []
          : ["Engine Labels:", ...engine.map(([key, value]) => ` - ${key}=${value}`)]),
        ...lines(node, await ask(context, node)),
      ].join("\n")}\n`,
    );
  }
  return 0;
}

function title(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}
