/** `service inspect --pretty`: a service for people, in the order and the words of docker's. */

import { formatDuration } from "#base/duration.ts";
import type { CommandContext } from "../command.ts";
import { ago, humanBytes } from "../output/units.ts";
import type { ServiceObject, ServiceSpecJson } from "../swarm/types.ts";

/** What is shown of a service's container, beyond what other commands read. */
interface ContainerSpec {
  readonly Image: string;
  readonly Args?: readonly string[] | null;
  readonly Env?: readonly string[] | null;
  readonly Dir?: string;
  readonly User?: string;
  readonly Init?: boolean;
  readonly CapabilityAdd?: readonly string[] | null;
  readonly CapabilityDrop?: readonly string[] | null;
  readonly OomScoreAdj?: number;
  readonly Sysctls?: Readonly<Record<string, string>> | null;
  readonly Ulimits?: readonly { Name: string; Soft: number; Hard: number }[] | null;
  readonly Mounts?: readonly {
    readonly Type: string;
    readonly Source?: string;
    readonly Target: string;
    readonly ReadOnly?: boolean;
  }[];
  readonly Configs?: readonly Attachment[] | null;
  readonly Secrets?: readonly Attachment[] | null;
  readonly Healthcheck?: {
    readonly Interval?: number;
    readonly Retries?: number;
    readonly StartPeriod?: number;
    readonly Timeout?: number;
    readonly Test?: readonly string[] | null;
  };
}

interface Attachment {
  readonly ConfigName?: string;
  readonly SecretName?: string;
  readonly File?: { readonly Name: string };
}

interface Limits {
  readonly NanoCPUs?: number;
  readonly MemoryBytes?: number;
  readonly Pids?: number;
}

interface Task {
  readonly Resources?: { readonly Limits?: Limits; readonly Reservations?: Limits };
  readonly Placement?: {
    readonly Constraints?: readonly string[] | null;
    readonly Preferences?: readonly { Spread?: { SpreadDescriptor: string } }[] | null;
    readonly MaxReplicas?: number;
  };
  readonly LogDriver?: {
    readonly Name: string;
    readonly Options?: Readonly<Record<string, string>> | null;
  };
  readonly Networks?: readonly { readonly Target: string }[] | null;
}

interface Rollout {
  readonly Parallelism?: number;
  readonly Delay?: number;
  readonly FailureAction?: string;
  readonly Monitor?: number;
  readonly MaxFailureRatio?: number;
  readonly Order?: string;
}

interface Shown extends ServiceObject {
  readonly UpdateStatus?: {
    readonly State: string;
    readonly Message: string;
    readonly StartedAt?: string;
    readonly CompletedAt?: string;
  };
}

type Lines = readonly string[];

export async function inspectPretty({ args, client, stdout }: CommandContext): Promise<number> {
  for (const name of args) {
    const service = await client.get<Shown>(`/services/${encodeURIComponent(name)}`, {
      insertDefaults: true,
    });
    const networks = await networkNames(client, service.Spec);
    stdout.write(`\n${serviceLines(service, networks).join("\n")}\n\n`);
  }
  return 0;
}

async function networkNames(
  client: CommandContext["client"],
  { TaskTemplate }: ServiceSpecJson,
): Promise<Lines> {
  const { Networks } = TaskTemplate as Task;
  return Promise.all(
    (Networks ?? []).map(async ({ Target }) => {
      const found = await client
        .get<{ Name: string }>(`/networks/${encodeURIComponent(Target)}`, { scope: "swarm" })
        .catch(() => undefined);
      return found?.Name ?? Target;
    }),
  );
}

function serviceLines(service: Shown, networks: Lines): Lines {
  const { Spec } = service;
  const task = Spec.TaskTemplate as Task;
  const container = Spec.TaskTemplate.ContainerSpec as ContainerSpec;
  return [
    `ID:\t\t${service.ID}`,
    `Name:\t\t${Spec.Name}`,
    ...under(
      "Labels:",
      pairLines(Spec.Labels, (key, value) => ` ${key}${value && `=${value}`}`),
    ),
    ...modeLines(Spec),
    ...statusLines(service),
    "Placement:",
    ...placementLines(task),
    ...rolloutLines("UpdateConfig:", "Update order:", Spec.UpdateConfig),
    ...rolloutLines("RollbackConfig:", "Rollback order:", Spec.RollbackConfig),
    ...containerLines(container),
    ...under("Log Driver:", logLines(task)),
    "Resources:",
    ...resourceLines(task),
    ...(networks.length === 0 ? [] : [`Networks: ${networks.join(" ")} `]),
    `Endpoint Mode:\t${Spec.EndpointSpec?.Mode ?? "vip"}`,
    ...portLines(service),
    ...healthLines(container),
  ];
}

function under(title: string, lines: Lines): Lines {
  return lines.length === 0 ? [] : [title, ...lines];
}

function pairLines(
  pairs: Readonly<Record<string, string>> | null | undefined,
  line: (key: string, value: string) => string,
): Lines {
  return Object.entries(pairs ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => line(key, value));
}

function modeLines({ Mode }: ServiceSpecJson): Lines {
  if (Mode.Global !== undefined) return ["Service Mode:\tGlobal"];
  if (Mode.GlobalJob !== undefined) return ["Service Mode:\tGlobal Job"];
  if (Mode.ReplicatedJob !== undefined) {
    const { MaxConcurrent, TotalCompletions } = Mode.ReplicatedJob;
    return [
      "Service Mode:\tReplicated Job",
      ` Max Concurrent:\t${MaxConcurrent ?? 0}`,
      ` Total Completions:\t${TotalCompletions ?? 0}`,
    ];
  }
  const replicas = Mode.Replicated?.Replicas;
  return [
    "Service Mode:\tReplicated",
    ...(replicas === undefined ? [] : [` Replicas:\t${replicas}`]),
  ];
}

function statusLines({ UpdateStatus }: Shown): Lines {
  if (UpdateStatus === undefined || UpdateStatus.State === "") return [];
  const { State, Message, StartedAt, CompletedAt } = UpdateStatus;
  const when = (time: string) => ago(Date.parse(time), Date.now()).toLowerCase();
  return [
    "UpdateStatus:",
    ` State:\t\t${State}`,
    ...(StartedAt === undefined ? [] : [` Started:\t${when(StartedAt)}`]),
    ...(State === "completed" && CompletedAt !== undefined
      ? [` Completed:\t${when(CompletedAt)}`]
      : []),
    ` Message:\t${Message}`,
  ];
}

function placementLines({ Placement = {} }: Task): Lines {
  const { Constraints, Preferences, MaxReplicas } = Placement;
  const spreads = (Preferences ?? []).flatMap(({ Spread }) =>
    Spread === undefined ? [] : [`spread=${Spread.SpreadDescriptor}`],
  );
  return [
    ...(Constraints?.length ? [` Constraints:\t[${Constraints.join(" ")}]`] : []),
    ...(spreads.length === 0 ? [] : [` Preferences:   [${spreads.join(" ")}]`]),
    ...(MaxReplicas ? [` Max Replicas Per Node:   ${MaxReplicas}`] : []),
  ];
}

function rolloutLines(title: string, order: string, config: Rollout | undefined): Lines {
  if (config === undefined) return [];
  const { Parallelism = 0, Delay, FailureAction, Monitor, MaxFailureRatio, Order } = config;
  return [
    title,
    ` Parallelism:\t${Parallelism}`,
    ...(Delay ? [` Delay:\t\t${formatDuration(Delay)}`] : []),
    ` On failure:\t${FailureAction ?? ""}`,
    ...(Monitor ? [` Monitoring Period: ${formatDuration(Monitor)}`] : []),
    ` Max failure ratio: ${MaxFailureRatio ?? 0}`,
    ` ${order.padEnd(19)}${Order ?? ""}`,
  ];
}

function containerLines(spec: ContainerSpec): Lines {
  const { Args, Env, Dir, Init, User, OomScoreAdj, Mounts = [] } = spec;
  const each = (words: Lines) => words.map((word) => `${word} `).join("");
  const attached = (title: string, items: readonly Attachment[] | null | undefined) =>
    under(
      title,
      (items ?? []).flatMap(({ File, ConfigName, SecretName }) =>
        File === undefined
          ? []
          : [` Target:\t${File.Name}`, `  Source:\t${ConfigName ?? SecretName ?? ""}`],
      ),
    );
  return [
    "ContainerSpec:",
    ` Image:\t\t${spec.Image}`,
    ...(Args?.length ? [` Args:\t\t${each(Args)}`] : []),
    ...(Env?.length ? [` Env:\t\t${each(Env)}`] : []),
    ...(Dir ? [` Dir:\t\t${Dir}`] : []),
    ...(Init === undefined ? [] : [` Init:\t\t${Init}`]),
    ...(User ? [` User: ${User}`] : []),
    ...(OomScoreAdj ? [` OOM Score Adj: ${OomScoreAdj}`] : []),
    ...under("Capabilities:", [
      ...(spec.CapabilityAdd?.length ? [` Add: ${spec.CapabilityAdd.join(", ")}`] : []),
      ...(spec.CapabilityDrop?.length ? [` Drop: ${spec.CapabilityDrop.join(", ")}`] : []),
    ]),
    ...under(
      "SysCtls:",
      pairLines(spec.Sysctls, (key, value) => ` ${key}: ${value}`),
    ),
    ...under(
      "Ulimits:",
      (spec.Ulimits ?? []).map(({ Name, Soft, Hard }) =>
        Soft === Hard ? ` ${Name}: ${Soft}` : ` ${Name}: ${Soft}:${Hard}`,
      ),
    ),
    ...under(
      "Mounts:",
      Mounts.flatMap(({ Type, Source, Target, ReadOnly }) => [
        ` Target:\t${Target}`,
        `  Source:\t${Source ?? ""}`,
        `  ReadOnly:\t${ReadOnly ?? false}`,
        `  Type:\t\t${Type}`,
      ]),
    ),
    ...attached("Configs:", spec.Configs),
    ...attached("Secrets:", spec.Secrets),
  ];
}

function logLines({ LogDriver }: Task): Lines {
  if (LogDriver === undefined) return [];
  return [
    ...(LogDriver.Name === "" ? [] : [` Name:\t\t${LogDriver.Name}`]),
    ...under(
      " LogOpts:",
      pairLines(LogDriver.Options, (key, value) => `  ${key}${value && `:       ${value}`}`),
    ),
    "",
  ];
}

const NANO_CPUS_PER_CPU = 1e9;

function resourceLines({ Resources = {} }: Task): Lines {
  const lines = ({ NanoCPUs, MemoryBytes, Pids }: Limits): Lines => [
    ...(NanoCPUs ? [`  CPU:\t\t${NanoCPUs / NANO_CPUS_PER_CPU}`] : []),
    ...(MemoryBytes ? [`  Memory:\t${humanBytes(MemoryBytes)}`] : []),
    ...(Pids ? [`  PIDs:\t\t${Pids}`] : []),
  ];
  return [
    ...under(" Reservations:", lines(Resources.Reservations ?? {})),
    ...under(" Limits:", lines(Resources.Limits ?? {})),
  ];
}

function portLines({ Endpoint }: Shown): Lines {
  return under(
    "Ports:",
    (Endpoint?.Ports ?? []).flatMap(({ PublishedPort, Protocol, TargetPort, PublishMode }) => [
      ` PublishedPort = ${PublishedPort ?? 0}`,
      `  Protocol = ${Protocol ?? "tcp"}`,
      `  TargetPort = ${TargetPort}`,
      `  PublishMode = ${PublishMode ?? "ingress"} `,
    ]),
  );
}

function healthLines({ Healthcheck }: ContainerSpec): Lines {
  if (Healthcheck === undefined) return [];
  const { Interval = 0, Retries = 0, StartPeriod = 0, Timeout = 0, Test } = Healthcheck;
  return [
    " Healthcheck:",
    `  Interval = ${formatDuration(Interval)}`,
    `  Retries = ${Retries}`,
    `  StartPeriod =\t${formatDuration(StartPeriod)}`,
    `  Timeout =\t${formatDuration(Timeout)}`,
    ...(Test?.length ? ["  Tests:", `${Test.map((word) => `\t Test = ${word}`).join("\n")} `] : []),
  ];
}
