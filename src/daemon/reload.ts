/**
 * What a reload (SIGHUP) may change: dockerd's reloadable keys as far as they mean something here.
 * The rest of a changed file takes effect with the next start; its keys are named. Pure.
 */

import { isDeepStrictEqual } from "node:util";
import type { DaemonConfig } from "./config.ts";

export interface ReloadPlan {
  /** The configuration that runs from now on. */
  readonly config: DaemonConfig;
  /** Parts that are different now. */
  readonly changed: readonly (keyof DaemonConfig)[];
  /** Parts that the file has changed and only a restart takes over. */
  readonly later: readonly (keyof DaemonConfig)[];
}

/** debug, log-level, labels, shutdown-timeout; of `registry`: insecure, mirrors, the two limits. */
const RELOADABLE: readonly (keyof DaemonConfig)[] = [
  "debug",
  "logLevel",
  "labels",
  "registry",
  "shutdownTimeoutSeconds",
];

export function planReload(current: DaemonConfig, wanted: DaemonConfig): ReloadPlan {
  const keys = Object.keys(wanted) as (keyof DaemonConfig)[];
  const different = keys.filter((key) => !isDeepStrictEqual(current[key], wanted[key]));
  const changed = different.filter((key) => RELOADABLE.includes(key));
  const taken = Object.fromEntries(changed.map((key) => [key, wanted[key]]));
  return {
    config: { ...current, ...taken },
    changed,
    later: different.filter((key) => !RELOADABLE.includes(key)),
  };
}

/** What the event of a reload tells, under dockerd's names. */
export function reloadAttributes(config: DaemonConfig, name: string): Record<string, string> {
  const { registry } = config;
  return {
    name,
    debug: String(config.debug),
    labels: JSON.stringify(config.labels),
    "insecure-registries": JSON.stringify(registry.insecure),
    "registry-mirrors": JSON.stringify(registry.mirrors),
    "max-concurrent-downloads": String(registry.maxDownloads),
    "max-concurrent-uploads": String(registry.maxUploads),
    "shutdown-timeout": String(config.shutdownTimeoutSeconds),
    "live-restore": "true",
  };
}
