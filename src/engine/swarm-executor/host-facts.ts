/** The machine's own facts for the node description; the engine adds version, labels and plugins. */

import { thisMachine } from "#platform/machine.ts";
import type { HostFacts } from "./ports.ts";

export type EngineFacts = Pick<
  HostFacts,
  "engineVersion" | "engineLabels" | "plugins" | "genericResources" | "network"
>;

/** What every engine brings along, and the volume drivers of this host. */
export function nodePlugins(volumeDrivers: readonly string[]): HostFacts["plugins"] {
  return [
    ...["bridge", "host", "macvlan", "null", "overlay"].map((name) => ({ type: "Network", name })),
    ...volumeDrivers.map((name) => ({ type: "Volume", name })),
    ...["journald", "json-file", "local", "none", "syslog"].map((name) => ({ type: "Log", name })),
  ];
}

export async function readHostFacts(engine: EngineFacts): Promise<HostFacts> {
  const { hostname, unameArch: architecture, cpus, memoryBytes } = thisMachine();
  return { hostname, architecture, os: "linux", cpus, memoryBytes, ...engine };
}
