/** `skep swarm …`: making, joining, leaving and changing the swarm. */

import { HOUR, SECOND } from "#base/duration.ts";
import { EngineError } from "#base/error.ts";
import type { Command, CommandContext } from "../command.ts";
import { compact } from "../container/run-flags.ts";
import type { FlagSpec, FlagValues } from "../pflag.ts";
import { COMMANDS as BACKUP_COMMANDS } from "./backup.ts";
import { JOIN_FLAGS } from "./join-flags.ts";
import { EXTERNAL_CA_FLAG, externalCas, COMMANDS as KEY_COMMANDS, unlockText } from "./keys.ts";
import { COMMANDS as TOKEN_COMMANDS } from "./tokens.ts";
import type { SwarmObject } from "./types.ts";

const SPEC_FLAGS: readonly FlagSpec[] = [
  { name: "autolock", kind: "bool", usage: "Require an unlock key to start a stopped manager" },
  {
    name: "cert-expiry",
    kind: "duration",
    usage: "Validity period for node certificates",
    defaultText: "2160h0m0s",
  },
  {
    name: "dispatcher-heartbeat",
    kind: "duration",
    usage: "Dispatcher heartbeat period",
    defaultText: "5s",
  },
  EXTERNAL_CA_FLAG,
  {
    name: "auto-accept",
    kind: "list",
    valueName: "role",
    usage:
      'Roles that come in at once ("worker", "manager", "none"); others wait for "node accept"',
  },
  { name: "max-snapshots", kind: "uint", usage: "Number of additional Raft snapshots to retain" },
  {
    name: "snapshot-interval",
    kind: "uint",
    usage: "Number of log entries between Raft snapshots",
    defaultText: "10000",
  },
  {
    name: "task-history-limit",
    kind: "int",
    usage: "Task history retention limit",
    defaultText: "5",
  },
];

type Json = Readonly<Record<string, unknown>>;

/** Who comes in at once; undefined when the flag was not given. */
function acceptancePolicy(flags: FlagValues): Json | undefined {
  if (!flags.has("auto-accept")) return undefined;
  const roles = flags.list("auto-accept").flatMap((value) => value.split(","));
  const unknown = roles.find((role) => !["worker", "manager", "none"].includes(role));
  if (unknown !== undefined) {
    throw new EngineError("invalid-argument", `unrecognized role ${unknown} for --auto-accept`);
  }
  if (roles.includes("none") && roles.length > 1) {
    throw new EngineError("invalid-argument", "--auto-accept none excludes the other roles");
  }
  const Policies = ["worker", "manager"].map((Role) => ({
    Role,
    Autoaccept: roles.includes(Role),
  }));
  return { Policies };
}

/** The spec with the flags that were given written over it. */
async function mergeSpec(spec: Json, flags: FlagValues): Promise<Json> {
  const part = (name: string) => (spec[name] ?? {}) as Json;
  return {
    ...spec,
    Name: "default",
    Orchestration: {
      ...part("Orchestration"),
      ...compact({ TaskHistoryRetentionLimit: flags.number("task-history-limit") }),
    },
    Raft: {
      ...part("Raft"),
      ...compact({
        SnapshotInterval: flags.number("snapshot-interval"),
        KeepOldSnapshots: flags.number("max-snapshots"),
      }),
    },
    Dispatcher: {
      ...part("Dispatcher"),
      ...compact({ HeartbeatPeriod: flags.duration("dispatcher-heartbeat") }),
    },
    CAConfig: {
      ...part("CAConfig"),
      ...compact({
        NodeCertExpiry: flags.duration("cert-expiry"),
        ExternalCAs: await externalCas(flags),
      }),
    },
    ...compact({ AcceptancePolicy: acceptancePolicy(flags) }),
    EncryptionConfig: {
      ...part("EncryptionConfig"),
      ...(flags.has("autolock") ? { AutoLockManagers: flags.bool("autolock") } : {}),
    },
  };
}

const INITIAL_SPEC: Json = {
  Name: "default",
  Orchestration: { TaskHistoryRetentionLimit: 5 },
  Raft: { SnapshotInterval: 10000, KeepOldSnapshots: 0 },
  Dispatcher: { HeartbeatPeriod: 5 * SECOND },
  CAConfig: { NodeCertExpiry: 2160 * HOUR },
  EncryptionConfig: { AutoLockManagers: false },
};

async function init(context: CommandContext): Promise<number> {
  const { client, flags, stdout } = context;
  const nodeId = await client.post<string>("/swarm/init", {
    ListenAddr: flags.string("listen-addr") ?? "0.0.0.0:2377",
    AdvertiseAddr: flags.string("advertise-addr") ?? "",
    DataPathAddr: flags.string("data-path-addr") ?? "",
    DataPathPort: flags.number("data-path-port") ?? 0,
    DefaultAddrPool: flags.list("default-addr-pool"),
    SubnetSize: flags.number("default-addr-pool-mask-length") ?? 24,
    ForceNewCluster: flags.bool("force-new-cluster"),
    Availability: flags.string("availability") ?? "active",
    Spec: await mergeSpec(INITIAL_SPEC, flags),
    AutoLockManagers: flags.bool("autolock"),
  });
  stdout.write(`Swarm initialized: current node (${nodeId}) is now a manager.\n\n`);
  if (flags.bool("force-new-cluster")) await printWarnings(context);
  await printJoinCommand(context, "worker");
  stdout.write(
    "To add a manager to this swarm, run 'skep swarm join-token manager' and follow the instructions.\n",
  );
  if (flags.bool("autolock")) stdout.write("\n");
  if (flags.bool("autolock")) await printUnlockKey(context);
  return 0;
}

/** What may be lost; on standard error, because standard output is docker's, word for word. */
async function printWarnings({ client, stderr }: CommandContext): Promise<void> {
  const { Swarm } = await client.get<{ Swarm: { Warnings?: readonly string[] | null } }>("/info");
  for (const warning of Swarm.Warnings ?? []) stderr.write(`${warning}\n`);
}

async function printJoinCommand(context: CommandContext, role: string): Promise<void> {
  const { client, stdout } = context;
  const swarm = await client.get<SwarmObject>("/swarm");
  const info = await client.get<{
    Swarm: { NodeAddr: string; RemoteManagers?: readonly { Addr: string }[] };
  }>("/info");
  const address = info.Swarm.RemoteManagers?.[0]?.Addr ?? `${info.Swarm.NodeAddr}:2377`;
  const token = role === "manager" ? swarm.JoinTokens.Manager : swarm.JoinTokens.Worker;
  stdout.write(
    `To add a ${role} to this swarm, run the following command:\n\n    skep swarm join --token ${token} ${address}\n\n`,
  );
}

async function printUnlockKey({ client, stdout }: CommandContext): Promise<void> {
  const { UnlockKey } = await client.get<{ readonly UnlockKey: string }>("/swarm/unlockkey");
  stdout.write(unlockText(UnlockKey));
}

async function update(context: CommandContext): Promise<number> {
  const { client, flags, stdout } = context;
  const { Version, Spec } = await client.get<SwarmObject>("/swarm");
  const { AutoLockManagers } = (Spec["EncryptionConfig"] ?? {}) as Json;
  await client.post("/swarm/update", await mergeSpec(Spec, flags), {
    query: { version: Version.Index },
  });
  stdout.write("Swarm updated.\n");
  if (flags.bool("autolock") && AutoLockManagers !== true) await printUnlockKey(context);
  return 0;
}

async function join({ args, client, flags, stdout }: CommandContext): Promise<number> {
  await client.post("/swarm/join", {
    ListenAddr: flags.string("listen-addr") ?? "0.0.0.0:2377",
    AdvertiseAddr: flags.string("advertise-addr") ?? "",
    DataPathAddr: flags.string("data-path-addr") ?? "",
    RemoteAddrs: [args[0]],
    JoinToken: flags.string("token") ?? "",
    Availability: flags.string("availability") ?? "active",
  });
  const { Swarm } = await client.get<{ Swarm: { ControlAvailable: boolean } }>("/info");
  stdout.write(`This node joined a swarm as a ${Swarm.ControlAvailable ? "manager" : "worker"}.\n`);
  return 0;
}

async function joinToken(context: CommandContext): Promise<number> {
  const { args, client, flags, stdout } = context;
  const role = args[0] ?? "";
  if (role !== "worker" && role !== "manager") {
    throw new EngineError("invalid-argument", `unknown role ${role}`);
  }
  if (flags.bool("rotate")) {
    const { Version, Spec } = await client.get<SwarmObject>("/swarm");
    const query = {
      version: Version.Index,
      rotateWorkerToken: role === "worker" ? "true" : "false",
      rotateManagerToken: role === "manager" ? "true" : "false",
    };
    await client.post("/swarm/update", Spec, { query });
    if (!flags.bool("quiet")) stdout.write(`Successfully rotated ${role} join token.\n\n`);
  }
  if (flags.bool("quiet")) {
    const { JoinTokens } = await client.get<SwarmObject>("/swarm");
    stdout.write(`${role === "manager" ? JoinTokens.Manager : JoinTokens.Worker}\n`);
  } else await printJoinCommand(context, role);
  return 0;
}

export const COMMANDS: readonly Command[] = [
  {
    path: ["swarm", "init"],
    usage: "[OPTIONS]",
    summary: "Initialize a swarm",
    flags: [
      ...JOIN_FLAGS,
      ...SPEC_FLAGS,
      {
        name: "data-path-port",
        kind: "uint",
        usage: "Port number to use for data path traffic (1024 - 49151)",
      },
      { name: "default-addr-pool", kind: "list", usage: "Default address pool in CIDR format" },
      {
        name: "default-addr-pool-mask-length",
        kind: "uint",
        usage: "Default address pool subnet mask length",
        defaultText: "24",
      },
      {
        name: "force-new-cluster",
        kind: "bool",
        usage: "Force create a new cluster from current state",
      },
    ],
    minArgs: 0,
    maxArgs: 0,
    run: init,
  },
  {
    path: ["swarm", "join"],
    usage: "[OPTIONS] HOST:PORT",
    summary: "Join a swarm as a node and/or manager",
    flags: [
      ...JOIN_FLAGS,
      { name: "token", kind: "string", usage: "Token for entry into the swarm" },
    ],
    minArgs: 1,
    maxArgs: 1,
    run: join,
  },
  {
    path: ["swarm", "join-token"],
    usage: "[OPTIONS] (worker|manager)",
    summary: "Manage join tokens",
    flags: [
      { name: "quiet", short: "q", kind: "bool", usage: "Only display token" },
      { name: "rotate", kind: "bool", usage: "Rotate join token" },
    ],
    minArgs: 1,
    maxArgs: 1,
    run: joinToken,
  },
  {
    path: ["swarm", "leave"],
    usage: "[OPTIONS]",
    summary: "Leave the swarm",
    flags: [{ name: "force", short: "f", kind: "bool", usage: "Leave even as a manager" }],
    minArgs: 0,
    maxArgs: 0,
    run: async ({ client, flags, stdout }) => {
      await client.post("/swarm/leave", undefined, { query: { force: flags.bool("force") } });
      stdout.write("Node left the swarm.\n");
      return 0;
    },
  },
  {
    path: ["swarm", "update"],
    usage: "[OPTIONS]",
    summary: "Update the swarm",
    flags: SPEC_FLAGS,
    minArgs: 0,
    maxArgs: 0,
    run: update,
  },
  ...KEY_COMMANDS,
  ...TOKEN_COMMANDS,
  ...BACKUP_COMMANDS,
];
