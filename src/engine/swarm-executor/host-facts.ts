/** The machine's own facts for the node description; the engine adds version, labels and plugins. */

import { thisMachine } from "#platform/machine.ts";
import type { HostFacts } from "./ports.ts";

export type EngineFacts = Pick<
  HostFacts,
  "engineVersion" | "engineLabels" | "plugins" | "genericResources" | "network"
>;

/** The drivers of this host, and what every engine brings along. */
export function nodePlugins(
  volumeDrivers: readonly string[],
  networkDrivers: readonly string[],
): HostFacts["plugins"] {
  return [
    ...networkDrivers.map((name) => ({ type: "Network", name })),
    ...volumeDrivers.map((name) => ({ type: "Volume", name })),
    ...["journald", "json-file", "local", "none", "syslog"].map((name) => ({ type: "Log", name })),
  ];
}

export async function readHostFacts(engine: EngineFacts): Promise<HostFacts> {
  const { hostname, unameArch: architecture, cpus, memoryBytes } = thisMachine();
  return { hostname, architecture, os: "linux", cpus, memoryBytes, ...engine };
}
