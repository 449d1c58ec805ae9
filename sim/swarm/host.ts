/**
 * A machine of the swarm: a disk, its containers, and a process with an agent and, on managers, a
 * manager. The process may be killed, held up, or lost with the whole machine; something like
 * systemd starts it again.
 */

import { startAgent } from "#agent/agent.ts";
import { OBSERVATION_WEIGHT, Remotes } from "#agent/remotes.ts";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import { InvariantError } from "#base/invariant.ts";
import type { Log, LogFields } from "#base/ports.ts";
import type { RaftNode } from "#manager/raft/node.ts";
import { Control } from "#wire/gen/swarmkit/control_pb.js";
import type { SessionMessage } from "#wire/gen/swarmkit/dispatcher_pb.js";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import type { SeededRandom } from "../random.ts";
import type { Timeline } from "../timeline.ts";
import type { Trace } from "../trace.ts";
import { Machine, type MachineEvents } from "./containers.ts";
import { DataPath } from "./data-path.ts";
import { MachineDisk } from "./disk.ts";
import { type ManagerInit, type RaftSettings, type SimManager, startManager } from "./manager.ts";
import type { Desk } from "./operator.ts";
import { type ClockFaults, Process } from "./process.ts";
import type { RpcNetwork } from "./rpc.ts";

export interface HostWorld {
  readonly timeline: Timeline;
  readonly network: RpcNetwork;
  readonly trace: Trace;
  readonly nodes: ManagerInit["nodes"];
  /** Where the managers are that there were at the beginning. */
  readonly managerAddrs: readonly string[];
  readonly raft: RaftSettings;
  readonly syncMs: readonly [number, number];
  machineEvents(nodeId: string): MachineEvents;
  /** A promise that the process made was broken: the run is over. */
  failed(host: Host, error: unknown): void;
  /** Its kernel follows other tables than before. */
  tablesApplied(host: Host): void;
  /** A manager's process is there; its state can be watched. */
  opened(host: Host, raft: RaftNode): void;
}

const RESTART_MS = 1_000;

interface KnownManager {
  readonly nodeId: string;
  readonly addr: string;
  readonly weight: number;
}

export class Host {
  readonly nodeId: string;
  readonly addr: string;
  readonly machine: Machine;
  readonly disk: MachineDisk;
  readonly dataPath: DataPath;
  readonly #world: HostWorld;
  readonly #random: SeededRandom;
  readonly #clockFaults: ClockFaults;
  /** Whether it makes the group where there is none. */
  #isFirst: boolean;
  #isManager: boolean;
  #process: Process | undefined;
  #manager: SimManager | undefined;
  /** Whether the next start makes this the only manager. */
  #goesAlone = false;
  #isRetired = false;
  #lives = 0;
  /** Managers as this machine last heard of them, kept on its disk. */
  #known: readonly KnownManager[];

  constructor(
    nodeId: string,
    world: HostWorld,
    random: SeededRandom,
    init: { readonly isManager: boolean; readonly isFirst: boolean; readonly clock: ClockFaults },
  ) {
    this.nodeId = nodeId;
    this.addr = addrOf(nodeId);
    this.#world = world;
    this.#random = random;
    this.#clockFaults = init.clock;
    this.#isManager = init.isManager;
    this.#isFirst = init.isFirst;
    this.#known = world.managerAddrs.map((addr) => ({ nodeId: nodeIdOf(addr), addr, weight: 1 }));
    this.machine = new Machine(random.fork("machine"), world.machineEvents(nodeId));
    this.disk = new MachineDisk(random.fork("disk"), { syncMs: world.syncMs });
    this.dataPath = new DataPath(nodeId, random.fork("data path"), {
      now: () => world.timeline.now,
      applied: () => world.tablesApplied(this),
    });
  }

  get isUp(): boolean {
    return this.#process !== undefined;
  }

  /** The machine was taken away for good. */
  get isRetired(): boolean {
    return this.#isRetired;
  }

  /** The manager of the running process, once it has read its disk. */
  get manager(): RaftNode | undefined {
    return this.#manager?.raft;
  }

  /** What the allocator counts, if this manager leads. */
  usage(): ReturnType<SimManager["usage"]> {
    return this.#manager?.usage();
  }

  /** Where an operator works who is logged in on this manager; undefined where there is none. */
  desk(): Desk | undefined {
    const process = this.#process;
    if (process === undefined || this.#manager === undefined) return undefined;
    return this.#world.network.channel(process, this.addr).client(Control);
  }

  /** How long managers have kept its tables current without a break, while its process ran on. */
  get followedMs(): number {
    if (!this.dataPath.isFollowing) return 0;
    const since = Math.max(this.dataPath.followingSinceMs, this.#process?.heldUntilMs ?? 0);
    return Math.max(0, this.#world.timeline.now - since);
  }

  get process(): Process | undefined {
    return this.#process;
  }

  start(): void {
    if (this.#process !== undefined || this.#isRetired) return;
    const process = new Process(this.nodeId, this.#world.timeline, this.#clockFaults);
    this.#process = process;
    this.#lives++;
    const random = this.#random.fork(`life ${this.#lives}`);
    this.#say(() => `starts${this.#isManager ? " as a manager" : ""}`);
    if (this.#isManager) this.#runManager(process, random);
    this.#runAgent(process, random);
  }

  /** The process dies; containers go on. */
  kill(): void {
    this.#say(() => "is killed");
    this.#end(false);
  }

  /** The machine loses its power, and with it its containers. */
  powerCut(): void {
    this.#say(() => "loses power");
    this.#end(true);
    this.machine.powerCut();
    this.dataPath.powerCut();
  }

  /** A bit of its raft log turns round, and it loses power: it will have to look at the log again. */
  rot(): void {
    const what = this.disk.rot();
    this.#say(() => `has a disk that rots: ${what}`);
    this.powerCut();
  }

  /** The machine is lost for good; another one takes its place, with nothing on its disk. */
  lose(): void {
    this.#say(() => "burns down");
    this.powerCut();
    this.machine.forget();
    this.dataPath.forget();
    this.disk.forgetAll();
    this.#isFirst = false;
  }

  /** The machine is taken away, and no other takes its place. */
  retire(): void {
    this.lose();
    this.#isRetired = true;
  }

  /** An operator found that the majority is lost, and this manager shall go on by itself. */
  goAlone(): void {
    this.#say(() => "is told to go on alone");
    this.#end(false);
    this.#goesAlone = true;
    this.start();
  }

  /** Only this manager is left of those that were known. */
  tellOf({ nodeId, addr }: Host): void {
    this.#known = [{ nodeId, addr, weight: 1 }];
  }

  /** Whether it would find one of those managers by itself. */
  knowsOneOf(managers: readonly string[]): boolean {
    return this.#known.some(({ nodeId }) => managers.includes(nodeId));
  }

  hold(durationMs: number): void {
    this.#say(() => `is held up for ${durationMs}ms`);
    this.#process?.hold(durationMs);
  }

  #end(isSilent: boolean): void {
    const process = this.#process;
    if (process === undefined) return;
    process.end();
    this.disk.crash();
    this.dataPath.processEnded();
    this.#world.network.processEnded(process, isSilent);
    this.#process = undefined;
    this.#manager = undefined;
  }

  /** The process ends by itself and is started again. */
  #restart(why: string): void {
    this.#say(() => `restarts: ${why}`);
    this.#end(false);
    this.#world.timeline.after(RESTART_MS, () => this.start());
  }

  #runManager(process: Process, random: SeededRandom): void {
    const { network, nodes, raft } = this.#world;
    const others = () => this.#known.map(({ addr }) => addr).filter((addr) => addr !== this.addr);
    const init: ManagerInit = {
      process,
      addr: this.addr,
      join: this.#isFirst ? undefined : others,
      forceNewCluster: this.#goesAlone,
      nodes,
      network,
      disk: this.disk,
      random: random.fork("manager"),
      raft,
      log: this.#log("manager"),
      onFatal: (error) => {
        if (process.isAlive) this.#world.failed(this, error);
      },
    };
    const opened = (manager: SimManager) => {
      if (!process.isAlive) return;
      this.#manager = manager;
      this.#goesAlone = false;
      this.#world.opened(this, manager.raft);
      void manager.raft.removed.then(() =>
        this.#becomeWorker(process, "it was removed from the group"),
      );
    };
    startManager(init, opened).catch((error: unknown) => {
      if (!process.isAlive) return;
      if (isErrorCode(error, "data-loss")) this.#joinAnew(messageOf(error));
      else if (error instanceof EngineError) this.#restart(messageOf(error));
      else this.#world.failed(this, error);
    });
  }

  #runAgent(process: Process, random: SeededRandom): void {
    const { network } = this.#world;
    const remotes = new Remotes(this.#known);
    const own = random.fork("agent");
    const log = this.#log("agent");
    const start = async () => {
      const tables = await this.dataPath.open(process, log);
      await startAgent({
        executor: this.machine.executor(process, tables, log),
        connector: {
          pick: async () => {
            const remote = remotes.pick(own);
            if (remote === undefined) throw new EngineError("unavailable", "no manager is known");
            return { ...remote, channel: network.channel(process, remote.addr) };
          },
          isRemoved: async () => false,
          observe: (remote, isGood) => {
            remotes.observe(remote, isGood ? OBSERVATION_WEIGHT : -OBSERVATION_WEIGHT);
          },
        },
        clock: process,
        random: own,
        log,
        dataDir: "",
        store: this.disk.openTasks(process),
        onSessionMessage: (message) => {
          const known = message.managers.flatMap(({ peer, weight }) =>
            peer === undefined
              ? []
              : [{ nodeId: peer.nodeId, addr: peer.addr, weight: Number(weight) }],
          );
          if (known.length > 0) this.#known = known;
          remotes.replace(known);
          this.#followRole(process, message);
        },
      });
    };
    start().catch((error: unknown) => {
      if (process.isAlive) this.#world.failed(this, error);
    });
  }

  /** What the daemon makes of its node's record: it starts or ends a manager. */
  #followRole(process: Process, { node }: SessionMessage): void {
    if (node === undefined || !process.isAlive) return;
    const shouldManage = node.role === NodeRole.MANAGER;
    if (shouldManage === this.#isManager) return;
    if (!shouldManage) {
      this.#becomeWorker(process, "it was demoted");
      return;
    }
    this.#isManager = true;
    this.#restart("it was promoted");
  }

  /** What the error tells the operator to do. */
  #joinAnew(why: string): void {
    this.#isFirst = false;
    this.#restart(why);
    this.disk.forgetRaft();
  }

  #becomeWorker(process: Process, why: string): void {
    if (!process.isAlive || !this.#isManager) return;
    this.#isManager = false;
    this.#isFirst = false;
    this.#restart(why);
    this.disk.forgetRaft();
  }

  #say(line: () => string): void {
    this.#world.trace.add(this.#world.timeline.now, this.nodeId, line);
  }

  #log(part: string): Log {
    const say = (level: string) => (message: string, fields?: LogFields) => {
      this.#say(() => `${part} ${level}: ${message}${describeFields(fields)}`);
      // What a reign dies of is healed by the next one; that it happens at all is a bug.
      const reason = fields?.["reason"];
      if (typeof reason === "string" && reason.startsWith("invariant broken")) {
        this.#world.failed(this, new InvariantError(reason));
      }
    };
    const log: Log = {
      debug: say("debug"),
      info: say("info"),
      warn: say("warn"),
      error: say("error"),
      child: () => log,
    };
    return log;
  }
}

export function addrOf(nodeId: string): string {
  return `${nodeId}:2377`;
}

function nodeIdOf(addr: string): string {
  return addr.slice(0, addr.indexOf(":"));
}

function describeFields(fields: LogFields | undefined): string {
  if (fields === undefined) return "";
  return Object.entries(fields)
    .map(([name, value]) => ` ${name}=${value instanceof Error ? value.message : String(value)}`)
    .join("");
}
