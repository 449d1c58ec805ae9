/** The spec that the flags of `service create` and `service update` describe. */

import { EngineError } from "#base/error.ts";
import { Refusal } from "#plan/compose/refusal.ts";
import { splitWords } from "#plan/compose/words.ts";
import { parseMount } from "../container/mount-flag.ts";
import { compact, pairs } from "../container/run-flags.ts";
import type { FlagValues } from "../pflag.ts";
import type { PortConfig, ServiceSpecJson } from "../swarm/types.ts";
import { ROLLOUT_FLAGS } from "./spec-flags.ts";

type Json = Readonly<Record<string, unknown>>;

export function createSpec(
  flags: FlagValues,
  image: string,
  args: readonly string[],
): ServiceSpecJson {
  const mode = flags.string("mode") ?? "replicated";
  const entrypoint = flags.string("entrypoint");
  const base: ServiceSpecJson = {
    Name: flags.string("name") ?? "",
    Labels: pairs(flags.list("label")),
    Mode: modeOf(mode, flags),
    TaskTemplate: {
      ContainerSpec: {
        Image: image,
        ...(args.length > 0 ? { Args: args } : {}),
        ...(entrypoint === undefined ? {} : { Command: words("entrypoint", entrypoint) }),
        Labels: pairs(flags.list("container-label")),
        Env: flags.list("env"),
        Mounts: flags.list("mount").map(parseMount),
        Hosts: flags.list("host").map(hostEntry),
        ...(flags.has("dns") ? { DNSConfig: { Nameservers: flags.list("dns") } } : {}),
      },
      Placement: {
        Constraints: flags.list("constraint"),
        Preferences: flags.list("placement-pref").map((text) => ({
          Spread: { SpreadDescriptor: text.replace(/^spread=/, "") },
        })),
      },
      ForceUpdate: 0,
    },
    EndpointSpec: { Mode: "vip", Ports: flags.list("publish").flatMap(parsePublish) },
  };
  return mergeSpec(base, flags);
}

/** A command line in one flag, by the shell's quoting. */
function words(flag: string, text: string): readonly string[] {
  try {
    return splitWords(text, []);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const given = `invalid argument ${JSON.stringify(text)} for "--${flag}" flag`;
    throw new EngineError("invalid-argument", `${given}: ${error.message}`);
  }
}

function modeOf(mode: string, flags: FlagValues): ServiceSpecJson["Mode"] {
  const replicas = flags.number("replicas");
  switch (mode) {
    case "replicated":
      return { Replicated: compact({ Replicas: replicas ?? 1 }) };
    case "global":
    case "global-job":
      if (replicas !== undefined) {
        throw new EngineError(
          "invalid-argument",
          "replicas can only be used with replicated or replicated-job mode",
        );
      }
      return mode === "global" ? { Global: {} } : { GlobalJob: {} };
    case "replicated-job":
      return {
        ReplicatedJob: {
          MaxConcurrent: flags.number("max-concurrent") ?? replicas ?? 1,
          TotalCompletions: replicas ?? 1,
        },
      };
    default:
      throw new EngineError(
        "invalid-argument",
        `Unknown mode: ${mode}, only replicated, global, replicated-job and global-job supported`,
      );
  }
}

/** The spec with every shared flag that was given written over it. */
function mergeSpec(spec: ServiceSpecJson, flags: FlagValues): ServiceSpecJson {
  const task = spec.TaskTemplate;
  const part = (name: string) => (task[name] ?? {}) as Json;
  const resources = part("Resources") as { Limits?: Json; Reservations?: Json };
  const cpus = (name: string) => {
    const value = flags.number(name);
    return value === undefined ? undefined : Math.round(value * 1e9);
  };
  const logDriver = flags.string("log-driver");
  return {
    ...spec,
    Labels: withRollout(spec.Labels ?? {}, flags),
    TaskTemplate: {
      ...task,
      ContainerSpec: {
        ...task.ContainerSpec,
        ...compact({
          Hostname: flags.string("hostname"),
          User: flags.string("user"),
          Dir: flags.string("workdir"),
          StopSignal: flags.string("stop-signal"),
          Isolation: flags.string("isolation"),
          OomScoreAdj: flags.number("oom-score-adj"),
          Privileges: credentials(flags, task.ContainerSpec.Privileges),
          StopGracePeriod: flags.duration("stop-grace-period"),
          Init: flags.has("init") ? flags.bool("init") : undefined,
          ReadOnly: flags.has("read-only") ? flags.bool("read-only") : undefined,
          TTY: flags.has("tty") ? flags.bool("tty") : undefined,
          Healthcheck: healthcheck(flags, (task.ContainerSpec.Healthcheck ?? {}) as Json),
        }),
      },
      Resources: {
        Limits: {
          ...resources.Limits,
          ...compact({
            NanoCPUs: cpus("limit-cpu"),
            MemoryBytes: flags.bytes("limit-memory"),
            Pids: flags.number("limit-pids"),
          }),
        },
        Reservations: {
          ...resources.Reservations,
          ...compact({ NanoCPUs: cpus("reserve-cpu"), MemoryBytes: flags.bytes("reserve-memory") }),
        },
      },
      RestartPolicy: {
        ...part("RestartPolicy"),
        ...compact({
          Condition: flags.string("restart-condition"),
          Delay: flags.duration("restart-delay"),
          MaxAttempts: flags.number("restart-max-attempts"),
          Window: flags.duration("restart-window"),
        }),
      },
      Placement: {
        ...part("Placement"),
        ...compact({ MaxReplicas: flags.number("replicas-max-per-node") }),
      },
      ...(logDriver === undefined
        ? {}
        : { LogDriver: { Name: logDriver, Options: pairs(flags.list("log-opt")) } }),
    },
    ...compact({
      UpdateConfig: updateConfig("update", flags, spec.UpdateConfig),
      RollbackConfig: updateConfig("rollback", flags, spec.RollbackConfig),
    }),
    EndpointSpec: {
      ...spec.EndpointSpec,
      ...compact({ Mode: flags.string("endpoint-mode") }),
    },
  };
}

/** A flag that is given empty takes its label away. */
function withRollout(
  labels: Readonly<Record<string, string>>,
  flags: FlagValues,
): Readonly<Record<string, string>> {
  const next: Record<string, string> = { ...labels };
  for (const { flag, label } of ROLLOUT_FLAGS) {
    const value = flags.string(flag);
    if (value === "") delete next[label];
    else if (value !== undefined) next[label] = value;
  }
  return next;
}

/** "file://NAME", "registry://NAME" or "config://NAME". */
function credentials(flags: FlagValues, before: unknown): Json | undefined {
  const text = flags.string("credential-spec");
  if (text === undefined) return undefined;
  const match = /^(file|registry|config):\/\/(.+)$/.exec(text);
  if (match === null) {
    throw new EngineError(
      "invalid-argument",
      "invalid credential spec: value must be prefixed with 'config://', 'file://', or 'registry://'",
    );
  }
  const [, scheme = "", name = ""] = match;
  const kind = scheme.charAt(0).toUpperCase() + scheme.slice(1);
  return { ...(before as Json | undefined), CredentialSpec: { [kind]: name } };
}

function healthcheck(flags: FlagValues, current: Json): Json | undefined {
  if (flags.bool("no-healthcheck")) return { Test: ["NONE"] };
  const command = flags.string("health-cmd");
  const given = compact({
    Test: command === undefined ? undefined : ["CMD-SHELL", command],
    Interval: flags.duration("health-interval"),
    Timeout: flags.duration("health-timeout"),
    StartPeriod: flags.duration("health-start-period"),
    StartInterval: flags.duration("health-start-interval"),
    Retries: flags.number("health-retries"),
  });
  return Object.keys(given).length === 0 ? undefined : { ...current, ...given };
}

function updateConfig(
  kind: "update" | "rollback",
  flags: FlagValues,
  current: Json | undefined,
): Json | undefined {
  const given = compact({
    Parallelism: flags.number(`${kind}-parallelism`),
    Delay: flags.duration(`${kind}-delay`),
    Monitor: flags.duration(`${kind}-monitor`),
    MaxFailureRatio: flags.number(`${kind}-max-failure-ratio`),
    FailureAction: flags.string(`${kind}-failure-action`),
    Order: flags.string(`${kind}-order`),
  });
  return Object.keys(given).length === 0 ? undefined : { Parallelism: 1, ...current, ...given };
}

/** The current spec with the changes of `service update`. */
export function updateSpec(spec: ServiceSpecJson, flags: FlagValues): ServiceSpecJson {
  const container = spec.TaskTemplate.ContainerSpec as Json & { readonly Image: string };
  const placement = (spec.TaskTemplate.Placement ?? {}) as {
    Constraints?: readonly string[] | null;
  };
  const args = flags.string("args");
  const entrypoint = flags.string("entrypoint");
  const changed: ServiceSpecJson = {
    ...spec,
    Labels: changePairs(spec.Labels ?? {}, flags, "label"),
    Mode: changedMode(spec.Mode, flags),
    TaskTemplate: {
      ...spec.TaskTemplate,
      ForceUpdate: (spec.TaskTemplate.ForceUpdate ?? 0) + (flags.bool("force") ? 1 : 0),
      ContainerSpec: {
        ...container,
        Image: flags.string("image") ?? container.Image,
        ...(args === undefined ? {} : { Args: words("args", args) }),
        ...(entrypoint === undefined ? {} : { Command: words("entrypoint", entrypoint) }),
        Env: changeList(
          (container.Env ?? []) as readonly string[],
          flags,
          "env",
          (item) => item.split("=")[0] ?? "",
        ),
        Labels: changePairs(
          (container.Labels ?? {}) as Readonly<Record<string, string>>,
          flags,
          "container-label",
        ),
        Mounts: [
          ...((container.Mounts ?? []) as readonly { Target: string }[]).filter(
            ({ Target }) => !flags.list("mount-rm").includes(Target),
          ),
          ...flags.list("mount-add").map(parseMount),
        ],
      },
      Placement: {
        ...placement,
        Constraints: changeList(placement.Constraints ?? [], flags, "constraint", (item) => item),
      },
    },
    EndpointSpec: {
      ...spec.EndpointSpec,
      Ports: [
        ...(spec.EndpointSpec?.Ports ?? []).filter(
          ({ TargetPort, Protocol }) =>
            !flags.list("publish-rm").some((text) => {
              const [port, protocol = "tcp"] = text.split("/");
              return Number(port) === TargetPort && protocol === (Protocol ?? "tcp");
            }),
        ),
        ...flags.list("publish-add").flatMap(parsePublish),
      ],
    },
  };
  return mergeSpec(changed, flags);
}

function changedMode(mode: ServiceSpecJson["Mode"], flags: FlagValues): ServiceSpecJson["Mode"] {
  const replicas = flags.number("replicas");
  const most = flags.number("max-concurrent");
  if (mode.ReplicatedJob !== undefined) {
    const job = compact({ TotalCompletions: replicas, MaxConcurrent: most });
    return { ReplicatedJob: { ...mode.ReplicatedJob, ...job } };
  }
  if (most !== undefined) {
    throw new EngineError(
      "invalid-argument",
      "max-concurrent can only be used with replicated-job mode",
    );
  }
  if (replicas === undefined) return mode;
  if (mode.Replicated === undefined) {
    throw new EngineError(
      "invalid-argument",
      "replicas can only be used with replicated or replicated-job mode",
    );
  }
  return { Replicated: { Replicas: replicas } };
}

function changePairs(
  current: Readonly<Record<string, string>>,
  flags: FlagValues,
  name: string,
): Readonly<Record<string, string>> {
  const next: Record<string, string> = { ...current, ...pairs(flags.list(`${name}-add`)) };
  for (const key of flags.list(`${name}-rm`)) delete next[key];
  return next;
}

function changeList(
  current: readonly string[],
  flags: FlagValues,
  name: string,
  key: (item: string) => string,
): readonly string[] {
  const added = flags.list(`${name}-add`);
  const gone = new Set([...flags.list(`${name}-rm`), ...added.map(key)]);
  return [...current.filter((item) => !gone.has(key(item))), ...added];
}

/** "name:ip" as a line of /etc/hosts. */
function hostEntry(text: string): string {
  const colon = text.indexOf(":");
  if (colon < 1)
    throw new EngineError("invalid-argument", `bad format for add-host: ${JSON.stringify(text)}`);
  return `${text.slice(colon + 1)} ${text.slice(0, colon)}`;
}

/** `8080:80/tcp`, `target=80,published=8080,protocol=tcp,mode=host`. */
function parsePublish(text: string): readonly PortConfig[] {
  if (!text.includes("=")) {
    const match = /^(?:(\d+):)?(\d+)(?:\/(tcp|udp|sctp))?$/.exec(text);
    if (match === null) {
      throw new EngineError("invalid-argument", `invalid port specification: "${text}"`);
    }
    return [
      {
        Protocol: match[3] ?? "tcp",
        TargetPort: Number(match[2]),
        ...(match[1] === undefined ? {} : { PublishedPort: Number(match[1]) }),
        PublishMode: "ingress",
      },
    ];
  }
  const fields = pairs(text.split(","));
  if (fields.target === undefined) {
    throw new EngineError("invalid-argument", `missing mandatory field "target"`);
  }
  return [
    {
      Protocol: fields.protocol ?? "tcp",
      TargetPort: Number(fields.target),
      ...(fields.published === undefined ? {} : { PublishedPort: Number(fields.published) }),
      PublishMode: fields.mode ?? "ingress",
    },
  ];
}
