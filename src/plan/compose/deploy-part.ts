/** `deploy`, `restart` and `ports` → mode, resources, placement, policies and endpoint. */

import type { EndpointSpec, ServiceMode, UpdateConfig } from "#wire/docker/services.ts";
import type { PortConfig, TaskSpec } from "#wire/docker/tasks.ts";
import type { Fields } from "./fields.ts";
import { Refusal } from "./refusal.ts";
import type { Sparse } from "./stack.ts";

export function serviceMode(deploy: Fields): Sparse<ServiceMode> {
  const mode = deploy.text("mode") ?? "replicated";
  const replicas = deploy.number("replicas");
  switch (mode) {
    case "global":
    case "global-job":
      if (replicas !== undefined) {
        throw new Refusal(
          "replicas can only be used with replicated or replicated-job mode",
          deploy.at("replicas"),
        );
      }
      return mode === "global" ? { Global: {} } : { GlobalJob: {} };
    case "replicated":
      return { Replicated: { Replicas: replicas } };
    case "replicated-job":
      return { ReplicatedJob: { MaxConcurrent: replicas, TotalCompletions: replicas } };
    default:
      throw new Refusal(`Unknown mode: ${mode}`, deploy.at("mode"));
  }
}

export function updateConfig(fields: Fields | undefined): Sparse<UpdateConfig> | undefined {
  if (fields === undefined) return undefined;
  return {
    Parallelism: fields.number("parallelism") ?? 1,
    Delay: fields.duration("delay"),
    FailureAction: fields.text("failure_action") as UpdateConfig["FailureAction"] | undefined,
    Monitor: fields.duration("monitor"),
    MaxFailureRatio: fields.number("max_failure_ratio") ?? 0,
    Order: fields.text("order") as UpdateConfig["Order"] | undefined,
  };
}

/** `deploy.resources`, and of the container's own keys those that only Resources has. */
export function resources(
  deploy: Fields,
  service: Fields,
): Sparse<TaskSpec["Resources"]> | undefined {
  const fields = deploy.inner("resources");
  const swap = swapOf(deploy, service);
  if (fields === undefined) return Object.keys(swap).length === 0 ? undefined : swap;
  const limits = fields.inner("limits");
  const reservations = fields.inner("reservations");
  return {
    Limits:
      limits === undefined ? undefined : { ...cpuAndMemory(limits), Pids: limits.positive("pids") },
    Reservations:
      reservations === undefined
        ? undefined
        : { ...cpuAndMemory(reservations), GenericResources: genericResources(reservations) },
    ...swap,
  };
}

/** `memswap_limit` is memory and swap together, and -1 as much swap as there is. */
function swapOf(deploy: Fields, service: Fields) {
  const MemorySwappiness = service.number("mem_swappiness");
  const both = service.text("memswap_limit");
  const swappiness = MemorySwappiness === undefined ? {} : { MemorySwappiness };
  if (both === undefined || both === "0") return swappiness;
  if (both === "-1") return { ...swappiness, SwapBytes: -1 };
  const memory = deploy.inner("resources")?.inner("limits")?.bytes("memory") ?? 0;
  const SwapBytes = (service.bytes("memswap_limit") ?? 0) - memory;
  if (memory === 0 || SwapBytes < 0) {
    throw new Refusal(
      "memswap_limit must be at least the limit of memory, and there must be one",
      service.at("memswap_limit"),
    );
  }
  return { ...swappiness, SwapBytes };
}

function cpuAndMemory(fields: Fields) {
  return { NanoCPUs: nanoCpus(fields), MemoryBytes: fields.bytes("memory") };
}

function nanoCpus(fields: Fields): number | undefined {
  const text = fields.text("cpus");
  if (text === undefined) return undefined;
  if (!/^\d*\.?\d+$/.test(text))
    throw new Refusal(`failed to parse ${text} as a rational number`, fields.at("cpus"));
  return Math.round(Number(text) * 1e9);
}

function genericResources(fields: Fields) {
  const found = fields.items("generic_resources").flatMap((item) => {
    const discrete = item.inner("discrete_resource_spec");
    if (discrete === undefined) return [];
    return [
      { DiscreteResourceSpec: { Kind: discrete.text("kind"), Value: discrete.number("value") } },
    ];
  });
  return found.length === 0 ? undefined : found;
}

export function placement(
  deploy: Fields,
  service: Fields,
): Sparse<TaskSpec["Placement"]> | undefined {
  const Platforms = platforms(service);
  const fields = deploy.inner("placement");
  if (fields === undefined) return Platforms && { Platforms };
  const preferences = fields.items("preferences");
  return {
    Constraints: fields.texts("constraints"),
    Preferences:
      preferences.length === 0
        ? undefined
        : preferences.map((item) => ({
            Spread: { SpreadDescriptor: item.text("spread") ?? "" },
          })),
    MaxReplicas: fields.positive("max_replicas_per_node"),
    Platforms,
  };
}

/** "linux/arm64/v8"; the swarm's platforms have no variants. */
function platforms(service: Fields) {
  const text = service.text("platform");
  if (text === undefined) return undefined;
  const [OS = "", Architecture = "", variant, ...more] = text.split("/");
  const isWord = (word: string) => /^[A-Za-z0-9_.-]+$/.test(word);
  if (!isWord(OS) || !isWord(Architecture) || more.length > 0 || variant === "") {
    throw new Refusal(
      `${JSON.stringify(text)} is no platform: OS/ARCHITECTURE such as linux/amd64`,
      service.at("platform"),
    );
  }
  return [{ OS, Architecture }];
}

/** `deploy.restart_policy`; without one, the container's `restart`. */
export function restartPolicy(
  service: Fields,
  deploy: Fields,
): Sparse<TaskSpec["RestartPolicy"]> | undefined {
  const policy = deploy.inner("restart_policy");
  if (policy !== undefined) {
    type Condition = NonNullable<TaskSpec["RestartPolicy"]>["Condition"];
    return {
      Condition: policy.text("condition") as Condition | undefined,
      Delay: policy.duration("delay"),
      MaxAttempts: policy.number("max_attempts"),
      Window: policy.duration("window"),
    };
  }
  const restart = service.text("restart");
  if (restart === undefined || restart === "no") return undefined;
  if (restart === "always" || restart === "unless-stopped") return { Condition: "any" };
  const match = /^on-failure(?::(\d+))?$/.exec(restart);
  if (match === null)
    throw new Refusal(`unknown restart policy: ${restart}`, service.at("restart"));
  const MaxAttempts = match[1] === undefined ? undefined : Number(match[1]);
  return { Condition: "on-failure", MaxAttempts };
}

/** Sorted by published port, as docker sends them. */
export function endpoint(service: Fields, deploy: Fields): Sparse<EndpointSpec> | undefined {
  const ports = service.items("ports").map((port) => ({
    Protocol: port.text("protocol") as PortConfig["Protocol"] | undefined,
    TargetPort: port.positive("target"),
    PublishedPort: port.positive("published"),
    PublishMode: port.text("mode") as PortConfig["PublishMode"] | undefined,
  }));
  const Mode = deploy.text("endpoint_mode") as EndpointSpec["Mode"];
  if (ports.length === 0 && Mode === undefined) return undefined;
  ports.sort((a, b) => (a.PublishedPort ?? 0) - (b.PublishedPort ?? 0));
  return { Mode, Ports: ports.length === 0 ? undefined : ports };
}
