/**
 * A plan to the leader, in one transaction. What services wait for before they start (`depends_on` with
 * a condition) is in their labels and the managers' to see to.
 */

import { EngineError, isErrorCode } from "#base/error.ts";
import { isHistoryName } from "#plan/compose/history.ts";
import type { SparseServiceSpec } from "#plan/compose/stack.ts";
import type { StackDeployBody, StackDeployResponse, StackInfo } from "#wire/docker/stacks.ts";
import type { CommandContext } from "../command.ts";

export type DeployBody = StackDeployBody<SparseServiceSpec>;

/** What the stack is now; what is read after it and changes before the deploy makes that refused. */
export async function stackRevision(context: CommandContext, name: string): Promise<string> {
  try {
    const path = `/stacks/${encodeURIComponent(name)}`;
    return (await context.client.get<StackInfo>(path)).Revision;
  } catch (error) {
    if (!isErrorCode(error, "not-found", "unimplemented")) throw error;
    throw new EngineError(
      "unimplemented",
      "the engine, or the swarm's leader, does not know of stacks as a whole: it is no skep, or an older one. 'docker stack deploy' works with it",
    );
  }
}

/** Ids of the services that were made or changed, in order. */
export async function apply(
  context: CommandContext,
  name: string,
  body: DeployBody,
): Promise<readonly string[]> {
  const answer = await send(context, name, body);
  tell(context, answer);
  return answer.Changes.flatMap(({ Kind, Action, ID }) =>
    Kind === "service" && Action !== "remove" ? [ID] : [],
  );
}

export function send(
  { client }: CommandContext,
  name: string,
  body: DeployBody,
): Promise<StackDeployResponse> {
  return client.post<StackDeployResponse>(`/stacks/${encodeURIComponent(name)}/deploy`, body);
}

const VERBS = { create: "Creating", update: "Updating", remove: "Removing" } as const;

/** docker's lines, for what was done; the history is nobody's business. */
function tell({ stdout }: CommandContext, { Changes }: StackDeployResponse): void {
  for (const { Kind, Action, ID, Name } of Changes) {
    if (Action === "keep" || (Kind === "config" && isHistoryName(Name))) continue;
    const id = Kind === "service" && Action === "update" ? ` (id: ${ID})` : "";
    stdout.write(`${VERBS[Action]} ${Kind} ${Name}${id}\n`);
  }
}
