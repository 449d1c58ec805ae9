/** The flags of `service create` and `service update`, and the spec that they describe. */

import { EngineError } from "#base/error.ts";
import { IMAGE_LABELS, ROLLOUT_LABELS, START_LABEL } from "#model/service-labels.ts";
import { Refusal } from "#plan/compose/refusal.ts";
import { splitWords } from "#plan/compose/words.ts";
import { parseMount } from "../container/mount-flag.ts";
import { compact, pairs } from "../container/run-flags.ts";
import type { FlagSpec, FlagValues } from "../pflag.ts";
import type { PortConfig, ServiceSpecJson } from "../swarm/types.ts";
import { CREATE_LIST_FLAGS, UPDATE_LIST_FLAGS } from "./list-flags.ts";

type Json = Readonly<Record<string, unknown>>;

const string = (name: string, usage: string, short?: string): FlagSpec => ({
  name,
  kind: "string",
  usage,
  ...(short === undefined ? {} : { short }),
});
const list = (name: string, usage: string, short?: string): FlagSpec => ({
  name,
  kind: "list",
  usage,
  ...(short === undefined ? {} : { short }),
});

/** How updates go beyond rolling: flags that are kept as labels, docs/updates.md. */
const ROLLOUT_FLAGS = [
  {
    flag: "strategy",
    label: ROLLOUT_LABELS.strategy,
    usage: 'How updates go ("rolling", "canary", "blue-green")',
  },
  {
    flag: "canary",
    label: ROLLOUT_LABELS.canary,
    usage: "Tasks that try a new version, or their share (2, 10%)",
  },
  {
    flag: "canary-weight",
    label: ROLLOUT_LABELS.weight,
    usage: "Share of new connections for the canary (10%)",
  },
  {
    flag: "analysis",
    label: ROLLOUT_LABELS.analysis,
    usage: "Time that a new version must do well (30s)",
  },
  {
    flag: "promotion",
    label: ROLLOUT_LABELS.promotion,
    usage: 'What ends the trial of a new version ("auto", "manual")',
  },
  {
    flag: "keep",
    label: ROLLOUT_LABELS.keep,
    usage: "Time that the old set of a blue/green update is kept (5m)",
  },
  {
    flag: "progress-deadline",
    label: ROLLOUT_LABELS.deadline,
    usage: "Time without progress after which an update has failed (10m, 0 = never)",
  },
  {
    flag: "image-watch",
    label: IMAGE_LABELS.watch,
    usage: "How often to look for a newer image and roll to it (5m)",
  },
  {
    flag: "image-versions",
    label: IMAGE_LABELS.versions,
    usage: "Versions of the image to follow (1.4.x, ^2.1); else its tag",
  },
  {
    flag: "start-after",
    label: START_LABEL,
    usage: "What a new version waits for (db=healthy,migrate=completed)",
  },
] as const;

/** Flags that both commands share: set a field, leave it alone when not given. */
const SHARED_FLAGS: readonly FlagSpec[] = [
  {
    name: "detach",
    short: "d",
    kind: "bool",
    usage: "Exit immediately instead of waiting for the service",
  },
  { name: "quiet", short: "q", kind: "bool", usage: "Suppress progress output" },
  { name: "replicas", kind: "uint", usage: "Number of tasks" },
  { name: "limit-cpu", kind: "float", usage: "Limit CPUs" },
  { name: "limit-memory", kind: "bytes", usage: "Limit Memory" },
  { name: "limit-pids", kind: "int", usage: "Limit maximum number of processes" },
  { name: "reserve-cpu", kind: "float", usage: "Reserve CPUs" },
  { name: "reserve-memory", kind: "bytes", usage: "Reserve Memory" },
  { name: "replicas-max-per-node", kind: "uint", usage: "Maximum number of tasks per node" },
  string("endpoint-mode", "Endpoint mode (vip or dnsrr)"),
  string("hostname", "Container hostname"),
  string("user", "Username or UID", "u"),
  string("entrypoint", "Overwrite the image's ENTRYPOINT"),
  string("workdir", "Working directory inside the container", "w"),
  string("stop-signal", "Signal to stop the container"),
  { name: "stop-grace-period", kind: "duration", usage: "Time to wait before force killing" },
  { name: "init", kind: "bool", usage: "Use an init inside each container" },
  { name: "read-only", kind: "bool", usage: "Mount the root filesystem as read only" },
  { name: "tty", short: "t", kind: "bool", usage: "Allocate a pseudo-TTY" },
  string("log-driver", "Logging driver for service"),
  list("log-opt", "Logging driver options"),
  string("restart-condition", 'Restart when condition is met ("none", "on-failure", "any")'),
  { name: "restart-delay", kind: "duration", usage: "Delay between restart attempts" },
  { name: "restart-max-attempts", kind: "uint", usage: "Maximum number of restarts" },
  { name: "restart-window", kind: "duration", usage: "Window used to evaluate the restart policy" },
  string("health-cmd", "Command to run to check health"),
  { name: "health-interval", kind: "duration", usage: "Time between running the check" },
  { name: "health-retries", kind: "int", usage: "Consecutive failures to report unhealthy" },
  { name: "health-start-period", kind: "duration", usage: "Time before failures count" },
  {
    name: "health-start-interval",
    kind: "duration",
    usage: "Time between checks in the start period",
  },
  { name: "health-timeout", kind: "duration", usage: "Maximum time for one check" },
  string("isolation", "Service container isolation mode"),
  string("credential-spec", "Credential spec for managed service accounts (Windows only)"),
  { name: "oom-score-adj", kind: "int", usage: "OOM score adjustment" },
  { name: "max-concurrent", kind: "uint", usage: "Tasks of a job that run at once" },
  { name: "no-healthcheck", kind: "bool", usage: "Disable any container-specified HEALTHCHECK" },
  ...(["update", "rollback"] as const).flatMap((kind): readonly FlagSpec[] => [
    {
      name: `${kind}-parallelism`,
      kind: "uint",
      usage: `Tasks per ${kind} step (0 = all at once)`,
    },
    { name: `${kind}-delay`, kind: "duration", usage: `Delay between ${kind} steps` },
    { name: `${kind}-monitor`, kind: "duration", usage: `Time to watch a task after its ${kind}` },
    { name: `${kind}-max-failure-ratio`, kind: "float", usage: `Failure rate to tolerate` },
    { name: `${kind}-failure-action`, kind: "string", usage: `Action on ${kind} failure` },
    { name: `${kind}-order`, kind: "string", usage: '"start-first" or "stop-first"' },
  ]),
  { name: "no-resolve-image", kind: "bool", usage: "Do not ask the registry for the digest" },
  {
    name: "with-registry-auth",
    kind: "bool",
    usage: "Send registry authentication details to swarm agents",
  },
  ...ROLLOUT_FLAGS.map(({ flag, usage }) => string(flag, usage)),
];

export const CREATE_FLAGS: readonly FlagSpec[] = [
  ...SHARED_FLAGS,
  ...CREATE_LIST_FLAGS,
  string("name", "Service name"),
  string("mode", 'Service mode ("replicated", "global", "replicated-job", "global-job")'),
  list("constraint", "Placement constraints"),
  list("placement-pref", "Placement preferences"),
  list("container-label", "Container labels"),
  list("label", "Service labels", "l"),
  list("env", "Set environment variables", "e"),
  list("mount", "Attach a filesystem mount to the service"),
  list("publish", "Publish a port as a node port", "p"),
  list("host", "Custom host-to-IP mappings (host:ip)"),
  list("dns", "Set custom DNS servers"),
  list("cap-add", "Add Linux capabilities"),
  list("cap-drop", "Drop Linux capabilities"),
];

export const UPDATE_FLAGS: readonly FlagSpec[] = [
  ...SHARED_FLAGS,
  ...UPDATE_LIST_FLAGS,
  string("image", "Service image tag"),
  string("args", "Service command args"),
  { name: "force", kind: "bool", usage: "Update even if nothing changed" },
  { name: "rollback", kind: "bool", usage: "Roll back to the previous specification" },
  ...["env", "label", "container-label", "constraint", "mount", "publish"].flatMap((name) => [
    list(`${name}-add`, `Add or update: ${name}`),
    list(`${name}-rm`, `Remove: ${name}`),
  ]),
];

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
export function parsePublish(text: string): readonly PortConfig[] {
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
