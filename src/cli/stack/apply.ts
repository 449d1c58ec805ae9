/**
 * A plan to the leader. Usually that is one transaction. Services that wait for others to be up
 * (`depends_on` with a condition) can only come once those are: then it is one transaction for each
 * stage, and the whole is tried before the first, so that what can be known is refused beforehand.
 */

import { EngineError, isErrorCode } from "#base/error.ts";
import { HISTORY_LABEL, isHistoryName } from "#plan/compose/history.ts";
import type { SparseServiceSpec } from "#plan/compose/stack.ts";
import type { StackDeployBody, StackDeployResponse, StackInfo } from "#wire/docker/stacks.ts";
import type { CommandContext } from "../command.ts";
import { waitConverged } from "../service/progress.ts";

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

export interface Application {
  readonly name: string;
  readonly body: DeployBody;
  /** Service → services that must be up before it is made or changed. */
  readonly waits: ReadonlyMap<string, readonly string[]>;
}

/** Ids of the services that were made or changed, in order. */
export async function apply(
  context: CommandContext,
  { name, body, waits }: Application,
): Promise<readonly string[]> {
  const stages = stagesOf(body, waits);
  if (stages.length > 1) await send(context, name, { ...body, DryRun: true });
  const ids = new Map<string, string>();
  let { Revision = "" } = body;
  for (const { parts, after } of stages) {
    for (const other of after) {
      context.stdout.write(`Waiting for service ${other}\n`);
      await waitConverged(context, ids.get(other) ?? other);
    }
    const answer = await send(context, name, { ...parts, Revision });
    ({ Revision } = answer);
    tell(context, answer);
    for (const { Kind, Action, ID, Name } of answer.Changes) {
      if (Kind === "service" && Action !== "remove") ids.set(Name, ID);
    }
  }
  return [...ids.values()];
}

export function send(
  { client }: CommandContext,
  name: string,
  body: DeployBody,
): Promise<StackDeployResponse> {
  return client.post<StackDeployResponse>(`/stacks/${encodeURIComponent(name)}/deploy`, body);
}

interface Stage {
  readonly parts: DeployBody;
  /** Services of earlier stages that are waited for first. */
  readonly after: readonly string[];
}

/** The services of a body come after those that they wait for. */
function stagesOf(body: DeployBody, waits: Application["waits"]): readonly Stage[] {
  const stageOf = new Map<string, number>();
  const services: NonNullable<DeployBody["Services"]>[number][][] = [[]];
  for (const service of body.Services ?? []) {
    const before = (waits.get(service.Spec.Name) ?? []).map((other) => stageOf.get(other) ?? 0);
    const stage = before.length === 0 ? 0 : Math.max(...before) + 1;
    stageOf.set(service.Spec.Name, stage);
    services[stage] = [...(services[stage] ?? []), service];
  }
  if (services.length === 1) return [{ parts: body, after: [] }];
  const { Configs = [], Remove = {}, ...rest } = body;
  // The history says what was deployed: it is written when all of it is.
  const isHistory = ({ Labels }: (typeof Configs)[number]) => HISTORY_LABEL in (Labels ?? {});
  const last = services.length - 1;
  const waited = new Set<string>();
  return services.map((Services, stage) => {
    const after = new Set(Services.flatMap(({ Spec }) => waits.get(Spec.Name) ?? []));
    const fresh = [...after].filter((other) => !waited.has(other));
    for (const other of fresh) waited.add(other);
    const first = stage === 0;
    return {
      after: fresh,
      parts: {
        ...(first ? rest : {}),
        Services,
        Configs: Configs.filter((config) => (isHistory(config) ? stage === last : first)),
        Remove: {
          ...(first && Remove.Services !== undefined ? { Services: Remove.Services } : {}),
          ...(stage === last && Remove.Configs !== undefined ? { Configs: Remove.Configs } : {}),
        },
      },
    };
  });
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
