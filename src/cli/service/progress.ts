/**
 * Waiting for a service as docker does: progress per slot until all wanted tasks of the newest spec
 * run, then stable for the monitor period. On a terminal the lines are redrawn; elsewhere a line is
 * printed when the count changes.
 *
 * Other than with docker, an update that goes back by itself while it is waited for is a failure:
 * who waits wants to know whether the new version runs.
 */

import { SECOND } from "#base/duration.ts";
import { EngineError } from "#base/error.ts";
import { type CommandContext, filtersQuery } from "../command.ts";
import type { NodeObject, ServiceObject, TaskObject } from "../swarm/types.ts";

const POLL_MS = 200;
/** How long all tasks of a job must have ended, some without success, for it to have failed. */
const GIVE_UP_MS = 3_000;
const ENDED = new Set(["complete", "shutdown", "failed", "rejected", "orphaned", "remove"]);

export async function waitConverged(context: CommandContext, serviceId: string): Promise<void> {
  const { client, stdout } = context;
  const back = new WayBack();
  let stableSince: number | undefined;
  let waits = "";
  let shown = "";
  for (;;) {
    const service = await client.get<ServiceObject>(`/services/${serviceId}`);
    const waitsFor = (service.StartAfter ?? []).join(" and ");
    if (waitsFor !== "" && waitsFor !== waits) {
      stdout.write(`waits for ${waitsFor}\n`);
      shown = "";
    }
    waits = waitsFor;
    if (waits !== "") {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      continue;
    }
    const turned = back.turned(service);
    if (turned !== undefined) stdout.write(`rollback: ${turned}\n`);
    if (isJob(service)) return waitCompleted(context, service);
    const monitorMs = (service.Spec.UpdateConfig?.Monitor ?? 5 * SECOND) / 1e6;
    stopped(service);
    if (waitsForPromotion(service)) {
      stdout.write(`${service.UpdateStatus?.Message ?? ""}\n`);
      return;
    }
    const tasks = await client.get<readonly TaskObject[]>("/tasks", {
      filters: filtersQuery([`service=${service.ID}`, "_up-to-date=true", "desired-state=running"]),
    });
    const wanted = await wantedTasks(client, service);
    const running = tasks.filter((task) => task.Status.State === "running").length;
    const updating = ["updating", "rollback_started"].includes(service.UpdateStatus?.State ?? "");
    const line = `overall progress: ${running} out of ${wanted} tasks`;
    if (line !== shown) {
      stdout.write(shown !== "" && stdout.isTTY === true ? `\x1b[1A\x1b[2K${line}\n` : `${line}\n`);
      const problem = tasks.find((task) => (task.Status.Err ?? "") !== "");
      if (problem !== undefined) stdout.write(`${problem.Status.Err}\n`);
      shown = line;
    }
    const now = performance.now();
    if (running < wanted || updating) stableSince = undefined;
    else stableSince ??= now;
    if (stableSince !== undefined && now - stableSince >= monitorMs) {
      stdout.write(`verify: Service ${service.ID} converged\n`);
      if (back.reason === undefined) return;
      const reasons = [back.reason, ...(await lastFailure(client, service.ID, back.reason))];
      const message = `service update failed: ${reasons.join(": ")}`;
      throw new EngineError("failed-precondition", message);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Whether the update that is waited for goes back, and why; a return that was asked for is no failure. */
class WayBack {
  #startedAt: string | undefined;
  #isFirst = true;
  reason: string | undefined;

  /** Why the service goes back, the first time that this is seen. */
  turned({ UpdateStatus }: ServiceObject): string | undefined {
    const isFirst = this.#isFirst;
    this.#isFirst = false;
    if (UpdateStatus?.State.startsWith("rollback") !== true) return undefined;
    if (this.#startedAt === UpdateStatus.StartedAt) return undefined;
    this.#startedAt = UpdateStatus.StartedAt;
    // Asked for, or long over.
    if (isFirst && !UpdateStatus.Message.startsWith("update rolled back")) return undefined;
    this.reason = UpdateStatus.Message;
    return this.reason;
  }
}

/** What the task ended with that the reason names, or else the last one that failed. */
async function lastFailure(
  client: CommandContext["client"],
  serviceId: string,
  reason: string,
): Promise<readonly string[]> {
  const filters = filtersQuery([`service=${serviceId}`]);
  const tasks = await client.get<readonly TaskObject[]>("/tasks", { filters });
  const failed = tasks
    .filter(({ Status }) => ["failed", "rejected"].includes(Status.State))
    .sort((a, b) => (a.Status.Timestamp < b.Status.Timestamp ? 1 : -1));
  const one = failed.find(({ ID }) => reason.includes(ID)) ?? failed[0];
  return one?.Status.Err === undefined ? [] : [one.Status.Err];
}

/** Somebody has to decide, maybe hours from now. */
function waitsForPromotion({ Rollout, UpdateStatus }: ServiceObject): boolean {
  const waits = UpdateStatus?.Message.startsWith("update waits for promotion") === true;
  return Rollout?.Phase === "trial" && waits;
}

function isJob({ Spec }: ServiceObject): boolean {
  return Spec.Mode.ReplicatedJob !== undefined || Spec.Mode.GlobalJob !== undefined;
}

/** A job is done when its newest run is complete; a failed task is tried again by its policy. */
async function waitCompleted(
  { client, stdout }: CommandContext,
  { ID, Spec, JobStatus }: ServiceObject,
): Promise<void> {
  let shown = "";
  let endedAt = performance.now();
  for (;;) {
    const all = await client.get<readonly TaskObject[]>("/tasks", {
      filters: filtersQuery([`service=${ID}`]),
    });
    const run = JobStatus?.JobIteration.Index ?? 0;
    const tasks = all.filter((task) => (task.JobIteration?.Index ?? 0) === run);
    const complete = tasks.filter((task) => task.Status.State === "complete").length;
    // Without tasks a global job may only not have been looked at yet.
    const wanted =
      Spec.Mode.ReplicatedJob === undefined
        ? Math.max(1, new Set(tasks.map(({ NodeID }) => NodeID)).size)
        : (Spec.Mode.ReplicatedJob.TotalCompletions ?? 1);
    const line = `job progress: ${complete} out of ${wanted} complete`;
    if (line !== shown) {
      stdout.write(shown !== "" && stdout.isTTY === true ? `\x1b[1A\x1b[2K${line}\n` : `${line}\n`);
      shown = line;
    }
    if (complete >= wanted) {
      stdout.write("job complete\n");
      return;
    }
    const now = performance.now();
    // A task that is tried again has its successor at once; without one nothing will happen any more.
    if (tasks.length === 0 || tasks.some((task) => !ENDED.has(task.Status.State))) endedAt = now;
    else if (now - endedAt > GIVE_UP_MS) {
      const problem = tasks.find((task) => (task.Status.Err ?? "") !== "")?.Status.Err ?? "";
      throw new EngineError("failed-precondition", `job failed: ${problem}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function stopped(service: ServiceObject): void {
  const status = service.UpdateStatus;
  if (status?.State === "paused") {
    throw new EngineError("failed-precondition", `service update paused: ${status.Message}`);
  }
  if (status?.State === "rollback_paused") {
    throw new EngineError("failed-precondition", `service rollback paused: ${status.Message}`);
  }
}

async function wantedTasks(
  client: CommandContext["client"],
  service: ServiceObject,
): Promise<number> {
  if (service.Spec.Mode.Replicated !== undefined) return service.Spec.Mode.Replicated.Replicas ?? 1;
  if (service.ServiceStatus !== undefined) return service.ServiceStatus.DesiredTasks;
  const nodes = await client.get<readonly NodeObject[]>("/nodes");
  return nodes.filter(
    (node) => node.Status.State === "ready" && node.Spec.Availability === "active",
  ).length;
}
