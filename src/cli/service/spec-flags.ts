/** The flags of `service create` and `service update`. */

import { IMAGE_LABELS, ROLLOUT_LABELS, START_LABEL } from "#model/service-labels.ts";
import type { FlagSpec } from "../pflag.ts";
import { CREATE_LIST_FLAGS, UPDATE_LIST_FLAGS } from "./list-flags.ts";

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
export const ROLLOUT_FLAGS = [
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
