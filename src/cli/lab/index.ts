/**
 * `skep lab …`: a whole cluster on this machine, each host a network namespace with its own engine,
 * containerd and disk; and the faults that a cluster must survive. What kind and k3d are to
 * Kubernetes.
 */

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { EngineError } from "#base/error.ts";
import type { Command, CommandContext } from "../command.ts";
import { type ApiClient, createClient } from "../http.ts";
import { formatListing } from "../output/table.ts";
import type { SwarmObject } from "../swarm/types.ts";
import {
  createLab,
  createNetwork,
  cutPower,
  enginePid,
  plugIn,
  removeHost,
  removeLab,
  removeUnclaimedNetworks,
  setLink,
  startEngine,
} from "./host.ts";
import { allLabs, DEFAULT_LAB, hostsOf, type LabHost, labHost, labName, labOf } from "./lab.ts";
import { hostProcesses, kill } from "./power.ts";

const MAX_HOSTS = 50;
const START_TIMEOUT_MS = 60_000;

function clientOf(host: LabHost): ApiClient {
  return createClient(() => ({ host: host.socket }), {});
}

async function waitForEngine(host: LabHost): Promise<void> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    try {
      await clientOf(host).get("/info");
      return;
    } catch (error) {
      if (performance.now() > deadline) {
        throw new EngineError(
          "deadline-exceeded",
          `the engine of ${host.name} did not come up: ${error instanceof Error ? error.message : String(error)}; see "skep lab logs ${host.name}"`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

async function up({ flags, env, stdout }: CommandContext): Promise<number> {
  if (process.getuid?.() !== 0) throw new EngineError("permission-denied", "the lab needs root");
  const count = flags.number("hosts") ?? 3;
  const managers = Math.min(count, flags.number("managers") ?? (count >= 3 ? 3 : 1));
  if (count < 1 || count > MAX_HOSTS) {
    throw new EngineError("invalid-argument", `--hosts must be from 1 to ${MAX_HOSTS}`);
  }
  if (managers < 1) throw new EngineError("invalid-argument", "--managers must be at least 1");
  const name = labName(flags.string("name"), env);
  const lab = createLab(name, labOf(name).runRoot);
  const hosts = Array.from({ length: count }, (_, index) => labHost(lab, index + 1));
  for (const host of hosts) {
    createNetwork(host);
    startEngine(host, flags.list("engine-flag"));
  }
  await Promise.all(hosts.map(waitForEngine));
  stdout.write(`${count} hosts are up: ${hosts.map((host) => host.name).join(" ")}\n`);
  if (!flags.bool("no-swarm")) await makeSwarm(hosts, managers, stdout);
  stdout.write(`\nTry:  eval "$(skep lab env${nameWords(name)} h1)"; docker node ls\n`);
  return 0;
}

/** What a command line needs to mean this lab. */
function nameWords(name: string): string {
  return name === DEFAULT_LAB ? "" : ` --name ${name}`;
}

async function makeSwarm(
  hosts: readonly LabHost[],
  managers: number,
  stdout: CommandContext["stdout"],
): Promise<void> {
  const [first, ...others] = hosts as readonly [LabHost, ...LabHost[]];
  const leader = clientOf(first);
  await leader.post("/swarm/init", {
    ListenAddr: "0.0.0.0:2377",
    AdvertiseAddr: first.address,
    Spec: { Name: "default", Orchestration: {}, Raft: {}, Dispatcher: {}, CAConfig: {} },
  });
  const { JoinTokens } = await leader.get<SwarmObject>("/swarm");
  for (const host of others) {
    const role = host.number <= managers ? "manager" : "worker";
    await clientOf(host).post("/swarm/join", {
      ListenAddr: "0.0.0.0:2377",
      AdvertiseAddr: host.address,
      RemoteAddrs: [`${first.address}:2377`],
      JoinToken: role === "manager" ? JoinTokens.Manager : JoinTokens.Worker,
    });
    stdout.write(`${host.name} joined as a ${role}\n`);
  }
  stdout.write(`a swarm of ${managers} managers and ${hosts.length - managers} workers\n`);
}

async function down({ flags, env, stdout }: CommandContext): Promise<number> {
  if (flags.bool("all") && flags.has("name")) {
    throw new EngineError("invalid-argument", "--all and --name exclude each other");
  }
  const named = labName(flags.string("name"), env);
  const labs = allLabs().filter(({ name }) => flags.bool("all") || name === named);
  for (const lab of labs) {
    const hosts = hostsOf(lab);
    await Promise.all(hosts.map(removeHost));
    removeLab(lab);
    const plural = hosts.length === 1 ? "host" : "hosts";
    stdout.write(`removed lab ${lab.name}: ${hosts.length} ${plural}\n`);
  }
  if (flags.bool("all")) removeUnclaimedNetworks();
  if (labs.length === 0)
    stdout.write(flags.bool("all") ? "no lab was up\n" : `no lab ${named} was up\n`);
  return 0;
}

/** The host that the first argument names, in the lab that the flag or the environment names. */
function find({ args, flags, env }: CommandContext): LabHost {
  const lab = labOf(labName(flags.string("name"), env));
  const hosts = hostsOf(lab);
  const host = hosts.find((candidate) => candidate.name === args[0]);
  if (host !== undefined) return host;
  const known = hosts.map((candidate) => candidate.name).join(" ");
  throw new EngineError(
    "not-found",
    hosts.length === 0
      ? `lab ${lab.name} is not up; "skep lab up${nameWords(lab.name)}" makes it`
      : `no such host: ${args[0] ?? ""} (there are ${known})`,
  );
}

async function stateOf(host: LabHost): Promise<{ engine: string; swarm: string }> {
  if (enginePid(host) === undefined) {
    return { engine: hostProcesses(host).length > 0 ? "stopped" : "off", swarm: "" };
  }
  try {
    const { Swarm } = await clientOf(host).get<{
      Swarm: { LocalNodeState: string; ControlAvailable: boolean };
    }>("/info");
    const role = Swarm.ControlAvailable ? "manager" : "worker";
    return {
      engine: "running",
      swarm: Swarm.LocalNodeState === "active" ? role : Swarm.LocalNodeState,
    };
  } catch {
    return { engine: "starting", swarm: "" };
  }
}

async function list({ flags, stdout }: CommandContext): Promise<number> {
  const only = flags.has("name") ? labName(flags.string("name"), {}) : undefined;
  const labs = allLabs().filter(({ name }) => only === undefined || name === only);
  const rows = await Promise.all(
    labs.flatMap(hostsOf).map(async (host) => {
      const { engine, swarm } = await stateOf(host);
      return {
        Lab: host.lab,
        Name: host.name,
        Address: host.address,
        Engine: engine,
        Swarm: swarm,
        Host: host.socket,
      };
    }),
  );
  stdout.write(
    formatListing(
      {
        table: "{{.Lab}}\t{{.Name}}\t{{.Address}}\t{{.Engine}}\t{{.Swarm}}\t{{.Host}}",
        headings: {
          Lab: "LAB",
          Name: "NAME",
          Address: "ADDRESS",
          Engine: "ENGINE",
          Swarm: "SWARM",
          Host: "DOCKER_HOST",
        },
        rows,
        quietField: "Name",
      },
      { format: flags.string("format"), quiet: flags.bool("quiet") },
    ),
  );
  return 0;
}

const SWARM_WAIT_MS = 15_000;
const SWARM_POLL_MS = 100;

async function start(context: CommandContext): Promise<number> {
  const { flags, stdout } = context;
  const host = find(context);
  if (enginePid(host) !== undefined) {
    throw new EngineError("conflict", `the engine of ${host.name} is already running`);
  }
  plugIn(host);
  startEngine(host, flags.list("engine-flag"));
  await waitForEngine(host);
  const settled = await settles(host);
  stdout.write(`${host.name} is up${settled ? "" : ", and still looking for its swarm"}\n`);
  return 0;
}

/** Whether the host takes its part in its swarm up soon; where the others are away it cannot. */
async function settles(host: LabHost): Promise<boolean> {
  const deadline = Date.now() + SWARM_WAIT_MS;
  do {
    const { swarm } = await stateOf(host);
    if (swarm !== "" && swarm !== "pending") return true;
    await new Promise((resolve) => setTimeout(resolve, SWARM_POLL_MS));
  } while (Date.now() < deadline);
  return false;
}

interface Verb {
  readonly name: string;
  readonly summary: string;
  readonly done: string;
  readonly act: (host: LabHost) => Promise<void> | void;
}

const VERBS: readonly Verb[] = [
  {
    name: "kill",
    summary: "Cut a host's power: engine, containers and kernel die at once; the disk stays",
    done: "lost its power",
    act: cutPower,
  },
  {
    name: "stop-engine",
    summary: "Kill a host's engine alone (SIGKILL); its containers keep running",
    done: "has no engine; its containers go on",
    act: (host) => {
      const pid = enginePid(host);
      if (pid === undefined)
        throw new EngineError("conflict", `${host.name} has no running engine`);
      kill(pid, "SIGKILL");
    },
  },
  {
    name: "cut",
    summary: "Cut a host off the network",
    done: "is cut off",
    act: (host) => setLink(host, "down"),
  },
  {
    name: "heal",
    summary: "Connect a host that was cut off",
    done: "is connected again",
    act: (host) => setLink(host, "up"),
  },
];

const NAME_FLAG = {
  name: "name",
  kind: "string",
  usage: "The lab's name (SKEP_LAB in the environment means the same)",
  defaultText: `"${DEFAULT_LAB}"`,
} as const;

const ENGINE_FLAG = {
  name: "engine-flag",
  kind: "list",
  usage: "A flag for the engines, e.g. --engine-flag=--debug",
} as const;

export const COMMANDS: readonly Command[] = [
  {
    path: ["lab", "up"],
    usage: "[OPTIONS]",
    summary: "Make hosts, start their engines, and join them into a swarm",
    flags: [
      NAME_FLAG,
      { name: "hosts", kind: "uint", usage: "Number of hosts", defaultText: "3" },
      { name: "managers", kind: "uint", usage: "How many of them are managers", defaultText: "3" },
      { name: "no-swarm", kind: "bool", usage: "Only start the engines" },
      ENGINE_FLAG,
    ],
    minArgs: 0,
    maxArgs: 0,
    run: up,
  },
  {
    path: ["lab", "down"],
    usage: "[OPTIONS]",
    summary: "Remove a lab and all that it left, also after a crash",
    flags: [NAME_FLAG, { name: "all", kind: "bool", usage: "Remove every lab" }],
    minArgs: 0,
    maxArgs: 0,
    run: down,
  },
  {
    path: ["lab", "ls"],
    aliases: ["list"],
    usage: "[OPTIONS]",
    summary: "List the hosts of all labs",
    flags: [
      { ...NAME_FLAG, usage: "Only this lab's hosts", defaultText: "all" },
      { name: "format", kind: "string", usage: 'Format the output ("json" or a Go template)' },
      { name: "quiet", short: "q", kind: "bool", usage: "Only show names" },
    ],
    minArgs: 0,
    maxArgs: 0,
    run: list,
  },
  {
    path: ["lab", "env"],
    usage: "[OPTIONS] HOST",
    summary: 'Print what points docker at a host: eval "$(skep lab env h1)"',
    flags: [NAME_FLAG],
    minArgs: 1,
    maxArgs: 1,
    run: (context) => {
      context.stdout.write(`export DOCKER_HOST=${find(context).socket}\n`);
      return Promise.resolve(0);
    },
  },
  {
    path: ["lab", "exec"],
    usage: "[OPTIONS] HOST -- COMMAND [ARG...]",
    summary: "Run a command in a host's network",
    flags: [NAME_FLAG],
    minArgs: 2,
    maxArgs: undefined,
    flagsFirst: true,
    run: (context) => {
      const { args } = context;
      const words = args.slice(args[1] === "--" ? 2 : 1);
      const host = find(context);
      const done = spawnSync("nsenter", [`--net=${host.netnsPath}`, "--", ...words], {
        stdio: "inherit",
        env: { ...process.env, DOCKER_HOST: host.socket },
      });
      return Promise.resolve(done.status ?? 1);
    },
  },
  {
    path: ["lab", "logs"],
    usage: "[OPTIONS] HOST",
    summary: "Print the log of a host's engine",
    flags: [NAME_FLAG],
    minArgs: 1,
    maxArgs: 1,
    run: (context) => {
      context.stdout.write(readFileSync(find(context).logFile, "utf8"));
      return Promise.resolve(0);
    },
  },
  {
    path: ["lab", "start"],
    usage: "[OPTIONS] HOST",
    summary: "Start a host's engine again",
    flags: [NAME_FLAG, ENGINE_FLAG],
    minArgs: 1,
    maxArgs: 1,
    run: start,
  },
  ...VERBS.map(
    ({ name, summary, done, act }): Command => ({
      path: ["lab", name],
      usage: "[OPTIONS] HOST",
      summary,
      flags: [NAME_FLAG],
      minArgs: 1,
      maxArgs: 1,
      run: async (context) => {
        const host = find(context);
        await act(host);
        context.stdout.write(`${host.name} ${done}\n`);
        return 0;
      },
    }),
  ),
];
