/**
 * A machine's part in the data path: the real tables of a node over a kernel that takes its time.
 * What the kernel was told outlives the process, and ends with the machine's power; the file that the
 * process keeps outlives both.
 */

import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { TablesSource } from "#agent/executor.ts";
import type { Log } from "#base/ports.ts";
import { NodeTables } from "#engine/swarm-executor/node-tables.ts";
import { balancesOf } from "#plan/dataplane/balance.ts";
import type { NetworkTables } from "#plan/dataplane/merge.ts";
import { publishedPorts } from "#plan/dataplane/mesh.ts";
import { type PlacedNetwork, placeNetwork } from "#plan/dataplane/placed-network.ts";
import { type TablesMessage, TablesMessageSchema } from "#wire/gen/skep/dataplane_pb.js";
import type { SeededRandom } from "../random.ts";
import type { Process } from "./process.ts";

/** How long the kernel takes for a revision, milliseconds. */
const KERNEL_MS: readonly [number, number] = [1, 80];
/** Now and then a host is busy. */
const SLOW_MS: readonly [number, number] = [500, 4_000];
const SLOW_CHANCE = 0.02;
/** How long the file takes at most. */
const FILE_MS = 20;

/** Where a new connection to a service may be led from here. */
export interface Route {
  readonly networkId: string;
  readonly isMesh: boolean;
  readonly backends: readonly Backend[];
}

export interface Backend {
  readonly taskId: string;
  readonly nodeId: string;
  readonly serviceId: string;
}

/** What the executor hands on of what managers send. */
export interface TablesPort {
  readonly tables: NodeTables;
  apply(message: TablesMessage): Promise<void>;
  source(source: TablesSource): void;
}

export interface DataPathWorld {
  /** True time, milliseconds. */
  now(): number;
  /** The kernel follows other tables than before. */
  applied(): void;
}

export class DataPath {
  readonly #nodeId: string;
  readonly #random: SeededRandom;
  readonly #world: DataPathWorld;
  #file: Uint8Array | undefined;
  #kernel: NetworkTables = new Map();
  #revision = 0;
  #source: TablesSource = "lost";
  #followingSinceMs = 0;

  constructor(nodeId: string, random: SeededRandom, world: DataPathWorld) {
    this.#nodeId = nodeId;
    this.#random = random;
    this.#world = world;
  }

  /** Of what the kernel follows; 0 before the first tables. */
  get revision(): number {
    return this.#revision;
  }

  get kernel(): NetworkTables {
    return this.#kernel;
  }

  /** Whether a manager keeps the tables current, as far as the node knows. */
  get isFollowing(): boolean {
    return this.#source === "following";
  }

  /** True time; says something only while it follows. */
  get followingSinceMs(): number {
    return this.#followingSinceMs;
  }

  powerCut(): void {
    this.#kernel = new Map();
    this.#revision = 0;
  }

  /** Another disk is in its place. */
  forget(): void {
    this.powerCut();
    this.#file = undefined;
  }

  /** The process has ended: nobody follows. */
  processEnded(): void {
    this.#source = "lost";
  }

  async open(process: Process, log: Log): Promise<TablesPort> {
    let revision = 0;
    let begun = 0;
    let done = 0;
    const tables = await NodeTables.open({
      file: {
        load: async () => {
          await process.sleep(this.#random.int(FILE_MS));
          if (this.#file === undefined) return undefined;
          const stored = fromBinary(TablesMessageSchema, this.#file);
          revision = Number(stored.revision);
          return stored;
        },
        store: (message) => this.store(process, message),
        remove: async () => {
          this.#file = undefined;
        },
      },
      dataPath: {
        setTables: async (networks) => {
          const own = { number: ++begun, revision };
          const isSlow = this.#random.chance(SLOW_CHANCE);
          await process.sleep(this.#random.between(...(isSlow ? SLOW_MS : KERNEL_MS)));
          // Newer tables may have been faster; then they are in the kernel already.
          if (own.number < done) return;
          done = own.number;
          this.#kernel = networks;
          this.#revision = own.revision;
          this.#world.applied();
        },
      },
      clock: process,
      log,
    });
    return {
      tables,
      apply: (message) => {
        revision = Number(message.revision);
        return tables.apply(message);
      },
      source: (source) => {
        if (process.isAlive) this.#hear(source);
        tables.source(source);
      },
    };
  }

  /** All or nothing; lost if the process ends meanwhile. */
  async store(process: Process, message: TablesMessage): Promise<void> {
    await process.sleep(this.#random.int(FILE_MS));
    this.#file = toBinary(TablesMessageSchema, message);
  }

  #hear(source: TablesSource): void {
    if (source === "following" && !this.isFollowing) this.#followingSinceMs = this.#world.now();
    this.#source = source;
  }

  /** By what the kernel was told: the real rules of balance and mesh. */
  routes(): readonly Route[] {
    return [...this.#kernel.values()].flatMap((table) => {
      let routes = known.get(table);
      if (routes === undefined) {
        const placed = placeNetwork(table, { ...NOTHING, nodeId: this.#nodeId });
        routes = placed === undefined ? [] : routesOf(placed);
        known.set(table, routes);
      }
      return routes;
    });
  }
}

/** A table is one node's own: messages are decoded anew for each. */
const known = new WeakMap<object, readonly Route[]>();

const NOTHING = {
  tables: new Map(),
  dataPath: { port: 4_789, mtuOf: () => 1_500 },
  containers: [],
  refusedPorts: new Set<string>(),
  meshAddresses: [],
  loopback6: false,
  silentNodes: new Set<string>(),
  encryption: undefined,
};

function routesOf(network: PlacedNetwork): readonly Route[] {
  const byAddress = new Map(network.tasks.map((task) => [task.v4, task]));
  const isMesh = network.table.ingress;
  const spread = isMesh ? publishedPorts(network, []) : balancesOf(network);
  return spread.flatMap(({ backends }) => {
    const tasks = backends.flatMap((address) => byAddress.get(address) ?? []);
    return tasks.length === 0 ? [] : [{ networkId: network.id, isMesh, backends: tasks }];
  });
}
