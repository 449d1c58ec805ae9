/** The machine's own facts for the node description; the engine adds version, labels and plugins. */

import { thisMachine } from "#platform/machine.ts";
import type { HostFacts } from "./ports.ts";

export type EngineFacts = Pick<
  HostFacts,
  "engineVersion" | "engineLabels" | "plugins" | "genericResources" | "network"
>;

/** What every engine brings along. */
export const BUILTIN_PLUGINS: HostFacts["plugins"] = [
  ...["bridge", "host", "macvlan", "null", "overlay"].map((name) => ({ type: "Network", name })),
  { type: "Volume", name: "local" },
  ...["json-file", "local", "none"].map((name) => ({ type: "Log", name })),
];

export async function readHostFacts(engine: EngineFacts): Promise<HostFacts> {
  const { hostname, unameArch: architecture, cpus, memoryBytes } = thisMachine();
  return { hostname, architecture, os: "linux", cpus, memoryBytes, ...engine };
}
