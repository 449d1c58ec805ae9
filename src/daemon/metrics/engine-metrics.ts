/** Figures of this host's containers, under the names that dockerd gives them. */

import { machine } from "node:os";
import type { HostFacts } from "#api/system.ts";
import { Counter, counter, type Family, gauge, Histogram } from "#base/metrics.ts";
import type { Clock } from "#base/ports.ts";
import type { ContainerEngine } from "#engine/containers/service.ts";
import type { CountingEventBus } from "#engine/events/event-bus.ts";

export interface EngineMetricsHost {
  readonly facts: () => HostFacts;
  readonly containers: Pick<ContainerEngine, "list">;
  readonly events: Pick<CountingEventBus, "counts">;
}

export class EngineMetrics {
  readonly #clock: Clock;
  readonly #actions = new Histogram(
    "engine_daemon_container_actions_seconds",
    "The number of seconds it takes to process each container action",
    { label: { name: "action", values: ["commit", "create", "delete", "start", "stop"] } },
  );
  readonly #probes = new Counter(
    "engine_daemon_health_checks_total",
    "The total number of health checks",
  );
  readonly #failedProbes = new Counter(
    "engine_daemon_health_checks_failed_total",
    "The total number of failed health checks",
  );

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  readonly onProbe = (failed: boolean): void => {
    this.#probes.add();
    if (failed) this.#failedProbes.add();
  };

  /** The same engine, with the time measured that its actions take when they succeed. */
  timed(engine: ContainerEngine): ContainerEngine {
    const timed = async <T>(action: string, work: Promise<T>): Promise<T> => {
      const startMs = this.#clock.monotonicMs();
      const result = await work;
      this.#actions.observe((this.#clock.monotonicMs() - startMs) / 1000, action);
      return result;
    };
    return {
      ...engine,
      create: (...given) => timed("create", engine.create(...given)),
      start: (...given) => timed("start", engine.start(...given)),
      stop: (...given) => timed("stop", engine.stop(...given)),
      remove: (...given) => timed("delete", engine.remove(...given)),
      commit: (...given) => timed("commit", engine.commit(...given)),
    };
  }

  async families({ facts, containers, events }: EngineMetricsHost): Promise<readonly Family[]> {
    const { published, subscribers } = events.counts();
    const host = facts();
    return [
      this.#actions.family(),
      await states(containers),
      gauge(
        "engine_daemon_engine_cpus_cpus",
        "The number of cpus that the host system of the engine has",
        host.cpus,
      ),
      gauge(
        "engine_daemon_engine_memory_bytes",
        "The number of bytes of memory that the host system of the engine has",
        host.memoryBytes,
      ),
      engineInfo(host),
      counter("engine_daemon_events_total", "The number of events logged", published),
      gauge(
        "engine_daemon_events_subscribers_total",
        "The number of current subscribers to events",
        subscribers,
      ),
      this.#probes.family(),
      this.#failedProbes.family(),
    ];
  }
}

async function states(containers: Pick<ContainerEngine, "list">): Promise<Family> {
  const counts = { paused: 0, running: 0, stopped: 0 };
  for (const { State } of await containers.list({ all: true, filters: new Map() })) {
    if (State === "running" || State === "paused") counts[State] += 1;
    else counts.stopped += 1;
  }
  return gauge(
    "engine_daemon_container_states_containers",
    "The count of containers in various states",
    Object.entries(counts).map(([state, value]) => ({ labels: { state }, value })),
  );
}

function engineInfo(host: HostFacts): Family {
  const labels = {
    architecture: machine(),
    commit: host.commit,
    daemon_id: host.id,
    graphdriver: host.storageDriver,
    kernel: host.kernelVersion,
    os: host.operatingSystem,
    os_type: "linux",
    os_version: host.osVersion,
    version: host.version,
  };
  return gauge(
    "engine_daemon_engine_info",
    "The information related to the engine and the OS it is running on",
    [{ labels, value: 1 }],
  );
}
