/** Figures of this process: the names are those of Prometheus' client libraries. */

import { readdir, readFile } from "node:fs/promises";
import { type IntervalHistogram, monitorEventLoopDelay, performance } from "node:perf_hooks";
import { counter, type Family, gauge } from "#base/metrics.ts";

/** How finely delays of the event loop are seen; finer costs more wake-ups. */
const LOOP_RESOLUTION_MS = 20;
const PERCENTILES = [50, 90, 99] as const;

export class ProcessMetrics {
  /** Runs only where somebody may look: it wakes the process up. */
  readonly #loop: IntervalHistogram = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS });

  constructor() {
    this.#loop.enable();
  }

  close(): void {
    this.#loop.disable();
  }

  /** Delays are those since the last time that this was asked. */
  async families(): Promise<readonly Family[]> {
    const { user, system } = process.cpuUsage();
    const { rss, heapTotal, heapUsed, external, arrayBuffers } = process.memoryUsage();
    const bytes = {
      heap_total: heapTotal,
      heap_used: heapUsed,
      external,
      array_buffers: arrayBuffers,
    };
    return [
      counter(
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
        (user + system) / 1e6,
      ),
      gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        performance.timeOrigin / 1000,
      ),
      gauge("process_resident_memory_bytes", "Resident memory size in bytes.", rss),
      gauge("process_open_fds", "Number of open file descriptors.", await openDescriptors()),
      gauge("process_max_fds", "Maximum number of open file descriptors.", await maxDescriptors()),
      gauge(
        "skep_process_memory_bytes",
        "Parts of the memory of the JavaScript engine, in bytes.",
        Object.entries(bytes).map(([part, value]) => ({ labels: { part }, value })),
      ),
      ...this.#eventLoop(),
    ];
  }

  #eventLoop(): readonly Family[] {
    const loop = this.#loop;
    // What is measured is the time from timer to timer.
    const seconds = (ns: number) => Math.max(ns / 1e6 - LOOP_RESOLUTION_MS, 0) / 1000;
    const percentiles = PERCENTILES.map((q) => ({
      labels: { percentile: String(q) },
      value: seconds(loop.percentile(q)),
    }));
    const families = [
      gauge("skep_event_loop_delay_seconds", "How late timers were served since the last scrape.", [
        ...percentiles,
        { labels: { percentile: "100" }, value: loop.count === 0 ? 0 : seconds(loop.max) },
      ]),
      counter(
        "skep_event_loop_busy_seconds_total",
        "Time that the event loop was not idle.",
        performance.eventLoopUtilization().active / 1000,
      ),
    ];
    loop.reset();
    return families;
  }
}

async function openDescriptors(): Promise<number> {
  // The listing itself holds one.
  return (await readdir("/proc/self/fd")).length - 1;
}

async function maxDescriptors(): Promise<number> {
  const limits = await readFile("/proc/self/limits", "utf8");
  const [, soft] = /^Max open files\s+(\d+|unlimited)/m.exec(limits) ?? [];
  return soft === undefined || soft === "unlimited" ? Number.POSITIVE_INFINITY : Number(soft);
}
