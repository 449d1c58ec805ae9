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
  createBridge,
  createNetwork,
  enginePid,
  existingHosts,
  hostProcesses,
  kill,
  type LabHost,
  labHost,
  powerCut,
  removeHost,
  removeShared,
  setLink,
  startEngine,
} from "./host.ts";

const MAX_HOSTS = 50;
const START_TIMEOUT_MS = 60_000;

function clientOf(host: LabHost): ApiClient {
  return createClient(host.socket, {});
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

async function up({ flags, stdout }: CommandContext): Promise<number> {
  if (process.getuid?.() !== 0) throw new EngineError("permission-denied", "the lab needs root");
  const count = flags.number("hosts") ?? 3;
  const managers = Math.min(count, flags.number("managers") ?? (count >= 3 ? 3 : 1));
  if (count < 1 || count > MAX_HOSTS) {
    throw new EngineError("invalid-argument", `--hosts must be from 1 to ${MAX_HOSTS}`);
  }
  if (managers < 1) throw new EngineError("invalid-argument", "--managers must be at least 1");
  if (existingHosts().length > 0) {
    throw new EngineError("conflict", 'a lab is already up; "skep lab down" removes it');
  }
  createBridge();
  const hosts = Array.from({ length: count }, (_, index) => labHost(index + 1));
  for (const host of hosts) {
    createNetwork(host);
    startEngine(host, flags.list("engine-flag"));
  }
  await Promise.all(hosts.map(waitForEngine));
  stdout.write(`${count} hosts are up: ${hosts.map(({ name }) => name).join(" ")}\n`);
  if (!flags.bool("no-swarm")) await makeSwarm(hosts, managers, stdout);
  stdout.write(`\nTry:  eval "$(skep lab env h1)"; docker node ls\n`);
  return 0;
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

async function down({ stdout }: CommandContext): Promise<number> {
  const hosts = existingHosts();
  await Promise.all(hosts.map(removeHost));
  removeShared();
  stdout.write(hosts.length === 0 ? "no lab was up\n" : `removed ${hosts.length} hosts\n`);
  return 0;
}

function find(name: string | undefined): LabHost {
  const hosts = existingHosts();
  const host = hosts.find((candidate) => candidate.name === name);
  if (host !== undefined) return host;
  const known = hosts.map((candidate) => candidate.name).join(" ");
  throw new EngineError(
    "not-found",
    hosts.length === 0
      ? 'no lab is up; "skep lab up" makes one'
      : `no such host: ${name} (there are ${known})`,
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
  const rows = await Promise.all(
    existingHosts().map(async (host) => {
      const { engine, swarm } = await stateOf(host);
      return {
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
        table: "{{.Name}}\t{{.Address}}\t{{.Engine}}\t{{.Swarm}}\t{{.Host}}",
        headings: {
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

async function start({ args, flags, stdout }: CommandContext): Promise<number> {
  const host = find(args[0]);
  if (enginePid(host) !== undefined) {
    throw new EngineError("conflict", `the engine of ${host.name} is already running`);
  }
  startEngine(host, flags.list("engine-flag"));
  await waitForEngine(host);
  stdout.write(`${host.name} is up\n`);
  return 0;
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
    summary: "Cut a host's power: engine, containerd, shims and containers die at once",
    done: "lost its power",
    act: powerCut,
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
    usage: "",
    summary: "Remove the lab and all that it left, also after a crash",
    flags: [],
    minArgs: 0,
    maxArgs: 0,
    run: down,
  },
  {
    path: ["lab", "ls"],
    aliases: ["list"],
    usage: "[OPTIONS]",
    summary: "List the hosts",
    flags: [
      { name: "format", kind: "string", usage: 'Format the output ("json" or a Go template)' },
      { name: "quiet", short: "q", kind: "bool", usage: "Only show names" },
    ],
    minArgs: 0,
    maxArgs: 0,
    run: list,
  },
  {
    path: ["lab", "env"],
    usage: "HOST",
    summary: 'Print what points docker at a host: eval "$(skep lab env h1)"',
    flags: [],
    minArgs: 1,
    maxArgs: 1,
    run: ({ args, stdout }) => {
      stdout.write(`export DOCKER_HOST=${find(args[0]).socket}\n`);
      return Promise.resolve(0);
    },
  },
  {
    path: ["lab", "exec"],
    usage: "HOST -- COMMAND [ARG...]",
    summary: "Run a command in a host's network",
    flags: [],
    minArgs: 2,
    maxArgs: undefined,
    flagsFirst: true,
    run: ({ args }) => {
      const words = args.slice(args[1] === "--" ? 2 : 1);
      const host = find(args[0]);
      const done = spawnSync("nsenter", [`--net=/run/netns/${host.netns}`, "--", ...words], {
        stdio: "inherit",
        env: { ...process.env, DOCKER_HOST: host.socket },
      });
      return Promise.resolve(done.status ?? 1);
    },
  },
  {
    path: ["lab", "logs"],
    usage: "HOST",
    summary: "Print the log of a host's engine",
    flags: [],
    minArgs: 1,
    maxArgs: 1,
    run: ({ args, stdout }) => {
      stdout.write(readFileSync(find(args[0]).logFile, "utf8"));
      return Promise.resolve(0);
    },
  },
  {
    path: ["lab", "start"],
    usage: "[OPTIONS] HOST",
    summary: "Start a host's engine again",
    flags: [ENGINE_FLAG],
    minArgs: 1,
    maxArgs: 1,
    run: start,
  },
  ...VERBS.map(
    ({ name, summary, done, act }): Command => ({
      path: ["lab", name],
      usage: "HOST",
      summary,
      flags: [],
      minArgs: 1,
      maxArgs: 1,
      run: async ({ args, stdout }) => {
        const host = find(args[0]);
        await act(host);
        stdout.write(`${host.name} ${done}\n`);
        return 0;
      },
    }),
  ),
];
