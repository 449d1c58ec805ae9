/** Runs a container's health probes, one after another, from its start to its end. */

import { formatDuration, MILLISECOND } from "#base/duration.ts";
import { messageOf } from "#base/error.ts";
import { sleep } from "#platform/async.ts";
import { createExec, startExec } from "../exec/exec-service.ts";
import { formatNs } from "../logs/timestamps.ts";
import type { Container } from "./container.ts";
import { type ContainerContext, publishEvent } from "./context.ts";
import {
  type HealthPlan,
  nextHealth,
  nextProbeDelay,
  PROBE_OUTPUT_MAX_BYTES,
  type ProbeResult,
  planHealth,
  STARTING,
} from "./health-state.ts";
import { SIGKILL } from "./signals.ts";

/** Does nothing for a container without a health check. */
export function startHealthChecks(context: ContainerContext, container: Container): void {
  const plan = planHealth(container.record.config.Healthcheck);
  if (plan === undefined) return;
  const stop = new AbortController();
  container.health = STARTING;
  container.stopHealthChecks = () => {
    container.stopHealthChecks = undefined;
    // What docker says of a container that is not asked any more.
    if (container.health !== undefined) {
      container.health = { ...container.health, Status: "unhealthy" };
    }
    stop.abort(new Error("the container has ended"));
  };
  void probeLoop(context, container, plan, stop.signal).catch((error: unknown) => {
    if (stop.signal.aborted) return;
    context.log.error("health checks stopped", {
      container: container.id,
      reason: messageOf(error),
    });
  });
}

async function probeLoop(
  context: ContainerContext,
  container: Container,
  plan: HealthPlan,
  signal: AbortSignal,
): Promise<void> {
  const { clock } = context;
  for (;;) {
    const sinceStartMs = () => clock.monotonicMs() - container.startedMonotonicMs;
    const health = container.health ?? STARTING;
    await sleep(clock, nextProbeDelay(health, plan, sinceStartMs()), signal);
    // A frozen container cannot answer, and that says nothing about it.
    if (container.state.phase !== "running") continue;
    const result = await probe(context, container, plan);
    if (signal.aborted) return;
    context.onProbe?.(result.exitCode !== 0);
    const next = nextHealth(container.health ?? STARTING, result, plan, sinceStartMs());
    const changed = next.Status !== container.health?.Status;
    container.health = next;
    if (changed) publishEvent(context, container, `health_status: ${next.Status}`);
  }
}

async function probe(
  context: ContainerContext,
  container: Container,
  plan: HealthPlan,
): Promise<ProbeResult> {
  const startedAt = formatNs(context.nowNs());
  const shell = container.record.config.Shell ?? ["/bin/sh", "-c"];
  const { test } = plan;
  const Cmd = test.kind === "shell" ? [...shell, test.command] : test.args;
  const output: Uint8Array[] = [];
  let size = 0;
  const done = (exitCode: number, text?: string): ProbeResult => ({
    startedAt,
    endedAt: formatNs(context.nowNs()),
    exitCode,
    output: text ?? Buffer.concat(output).toString("utf8"),
  });
  try {
    const exec = createExec(context, container.id, { Cmd, AttachStdout: true, AttachStderr: true });
    exec.hub.add({
      write: (_stream, chunk) => {
        if (size < PROBE_OUTPUT_MAX_BYTES)
          output.push(chunk.slice(0, PROBE_OUTPUT_MAX_BYTES - size));
        size += chunk.length;
        return undefined;
      },
      end: () => undefined,
    });
    await startExec(context, exec, undefined);
    const stop = new AbortController();
    const late = sleep(context.clock, plan.timeoutMs, stop.signal).then(
      () => undefined,
      () => undefined,
    );
    const exitCode = await Promise.race([exec.ended.promise, late]);
    stop.abort();
    if (exitCode !== undefined) return done(exitCode);
    await context.runtime.signal(container.id, SIGKILL, { execId: exec.id }).catch(() => undefined);
    return done(
      -1,
      `Health check exceeded timeout (${formatDuration(plan.timeoutMs * MILLISECOND)})`,
    );
  } catch (error) {
    return done(-1, messageOf(error));
  }
}
