/**
 * The endpoint tables of all networks, kept current by the changes of the store; who is told what
 * of them follows from who serves which network. A change costs the rows that it touches and the
 * nodes that serve their network, not the size of the swarm.
 *
 * Invariant: after any history the tables are what `load` makes of the newest state.
 */

import { type DescMessage, equals, type MessageShape } from "@bufbuild/protobuf";
import { hasLetGo } from "#model/task.ts";
import type { Change, ChangeBatch, ReadView } from "#store/types.ts";
import {
  type NetworkTable,
  NetworkTableSchema,
  type Peer,
  PeerSchema,
  type ServiceEntry,
  ServiceEntrySchema,
  type TaskEndpoint,
  TaskEndpointSchema,
} from "#wire/gen/skep/dataplane_pb.js";
import type {
  Cluster,
  Network,
  NetworkAttachment,
  Node,
  Service,
  Task,
} from "#wire/gen/swarmkit/objects_pb.js";
import { type Delta, deltaOf } from "../delta.ts";
import { endpointOf, entriesOf, headerOf, peerOf, reachableBy, servedBy } from "./rows.ts";

/** UDP port of VXLAN where the cluster does not say. */
const DATA_PATH_PORT = 4_789;

export type RowKind = "peers" | "endpoints" | "services";

/** Hears what changed, once it has. */
export interface TablesListener {
  /** A row came, changed or went. */
  row(networkId: string, kind: RowKind, id: string): void;
  /** The table changed in more than its rows. */
  header(networkId: string): void;
  /** The node serves the network from now on, or does not any more. */
  serves(nodeId: string, networkId: string, serves: boolean): void;
  dataPathPort(): void;
}

/** One network with its rows by id. */
export interface Rows {
  readonly header: NetworkTable;
  readonly peers: ReadonlyMap<string, Peer>;
  readonly endpoints: ReadonlyMap<string, TaskEndpoint>;
  readonly services: ReadonlyMap<string, ServiceEntry>;
}

interface Entry {
  /** The object of the store; undefined once it was removed while nodes still serve it. */
  network: Network | undefined;
  header: NetworkTable | undefined;
  readonly peers: Map<string, Peer>;
  readonly endpoints: Map<string, TaskEndpoint>;
  readonly services: Map<string, ServiceEntry>;
}

interface KnownService {
  readonly service: Service;
  /** Where it has rows. */
  networkIds: readonly string[];
}

export class DataPlaneTables {
  #revision = 0;
  #port = DATA_PATH_PORT;
  readonly #listener: TablesListener;
  readonly #entries = new Map<string, Entry>();
  readonly #nodes = new Map<string, Node>();
  readonly #services = new Map<string, KnownService>();
  /** Tasks that can be reached, by service. */
  readonly #tasks = new Map<string, Map<string, Task>>();
  /** Networks by lower-case name, and services by the targets that they name: ids or names. */
  readonly #names = new Map<string, string>();
  readonly #targets = new Map<string, Set<string>>();

  constructor(listener: TablesListener) {
    this.#listener = listener;
  }

  /** The store's index that the tables are a function of. */
  get revision(): number {
    return this.#revision;
  }

  get dataPathPort(): number {
    return this.#port;
  }

  /** Everything that the view has; called once, first. */
  load(view: ReadView): void {
    for (const after of view.all("cluster")) this.#onCluster({ before: undefined, after });
    for (const after of view.all("network")) this.#onNetwork({ before: undefined, after });
    for (const after of view.all("node")) this.#onNode({ before: undefined, after });
    for (const after of view.all("service")) this.#onService({ before: undefined, after });
    for (const after of view.all("task")) this.#onTask({ before: undefined, after });
    this.#revision = view.index;
  }

  /** Takes in what one committed entry changed. */
  apply({ index, changes }: ChangeBatch): void {
    this.#revision = index;
    for (const change of changes) this.#take(change);
  }

  /** Networks that the node serves. */
  servedBy(nodeId: string): Iterable<string> {
    return servedBy(this.#nodes.get(nodeId)).keys();
  }

  serves(nodeId: string, networkId: string): boolean {
    return this.#entries.get(networkId)?.peers.has(nodeId) ?? false;
  }

  /** Ids of the nodes that serve the network. */
  nodesOf(networkId: string): Iterable<string> {
    return this.#entries.get(networkId)?.peers.keys() ?? [];
  }

  node(nodeId: string): Node | undefined {
    return this.#nodes.get(nodeId);
  }

  rows(networkId: string): Rows | undefined {
    const entry = this.#entries.get(networkId);
    return entry?.header === undefined ? undefined : { ...entry, header: entry.header };
  }

  #take(change: Change): void {
    if (change.kind === "task") this.#onTask(deltaOf(change));
    else if (change.kind === "service") this.#onService(deltaOf(change));
    else if (change.kind === "node") this.#onNode(deltaOf(change));
    else if (change.kind === "network") this.#onNetwork(deltaOf(change));
    else if (change.kind === "cluster") this.#onCluster(deltaOf(change));
  }

  #onCluster({ after }: Delta<Cluster>): void {
    const wanted = after?.VXLANUDPPort ?? 0;
    const port = wanted === 0 ? DATA_PATH_PORT : wanted;
    if (port === this.#port) return;
    this.#port = port;
    this.#listener.dataPathPort();
  }

  #onNetwork({ before, after }: Delta<Network>): void {
    const id = (after ?? before)?.id ?? "";
    const oldName = before?.spec?.annotations?.name ?? "";
    const name = after?.spec?.annotations?.name ?? "";
    if (this.#names.get(oldName.toLowerCase()) === id) this.#names.delete(oldName.toLowerCase());
    if (after !== undefined) this.#names.set(name.toLowerCase(), id);
    const entry = this.#entry(id);
    entry.network = after;
    this.#refreshHeader(id, entry);
    // Services may have been waiting for a network of that name, or lose one.
    for (const target of new Set([id, oldName, name])) {
      for (const serviceId of this.#targets.get(target) ?? []) this.#refreshService(serviceId);
    }
    this.#forgetIfEmpty(id, entry);
  }

  #onNode({ before, after }: Delta<Node>): void {
    const id = (after ?? before)?.id ?? "";
    if (after === undefined) this.#nodes.delete(id);
    else this.#nodes.set(id, after);
    const served = servedBy(after);
    for (const networkId of servedBy(before).keys()) {
      if (!served.has(networkId)) this.#leave(id, networkId);
    }
    if (after === undefined) return;
    for (const [networkId, attachment] of served) {
      const entry = this.#entry(networkId);
      const fresh = !entry.peers.has(id);
      this.#put(networkId, "peers", entry.peers, id, PeerSchema, peerOf(after, attachment));
      if (entry.network === undefined) this.#refreshHeader(networkId, entry);
      if (fresh) this.#listener.serves(id, networkId, true);
    }
  }

  #leave(nodeId: string, networkId: string): void {
    const entry = this.#entry(networkId);
    this.#remove(networkId, "peers", entry.peers, nodeId);
    if (entry.network === undefined) this.#refreshHeader(networkId, entry);
    this.#listener.serves(nodeId, networkId, false);
    this.#forgetIfEmpty(networkId, entry);
  }

  #onTask({ before, after }: Delta<Task>): void {
    const now = reachableBy(after);
    this.#noteTask(before, now.size > 0 ? after : undefined);
    if (before !== undefined && after !== undefined && isSameToOthers(before, after)) return;
    for (const networkId of reachableBy(before).keys()) {
      if (now.has(networkId)) continue;
      const entry = this.#entry(networkId);
      this.#remove(networkId, "endpoints", entry.endpoints, before?.id ?? "");
      this.#forgetIfEmpty(networkId, entry);
    }
    if (after === undefined) return;
    this.#putTask(after, now);
  }

  #putTask(task: Task, networks: ReadonlyMap<string, NetworkAttachment>): void {
    const service = this.#services.get(task.serviceId)?.service;
    for (const [networkId, attachment] of networks) {
      const { endpoints } = this.#entry(networkId);
      const row = endpointOf(task, attachment, service);
      this.#put(networkId, "endpoints", endpoints, task.id, TaskEndpointSchema, row);
    }
  }

  #noteTask(before: Task | undefined, after: Task | undefined): void {
    const serviceId = (after ?? before)?.serviceId ?? "";
    if (serviceId === "") return;
    const tasks = this.#tasks.get(serviceId) ?? new Map<string, Task>();
    if (after !== undefined) tasks.set(after.id, after);
    else tasks.delete(before?.id ?? "");
    if (tasks.size > 0) this.#tasks.set(serviceId, tasks);
    else this.#tasks.delete(serviceId);
  }

  #onService({ before, after }: Delta<Service>): void {
    if (before !== undefined) this.#countTargets(before, false);
    if (after === undefined) {
      const id = before?.id ?? "";
      const known = this.#services.get(id);
      this.#services.delete(id);
      this.#removeService(id, known?.networkIds ?? []);
      if (before?.rollout !== undefined) this.#refreshTasks(id);
      return;
    }
    this.#countTargets(after, true);
    const networkIds = this.#services.get(after.id)?.networkIds ?? [];
    this.#services.set(after.id, { service: after, networkIds });
    this.#refreshService(after.id);
    if (before?.rollout !== after.rollout) this.#refreshTasks(after.id);
  }

  /** All of its tasks: which of them serve may have changed. */
  #refreshTasks(serviceId: string): void {
    for (const task of this.#tasks.get(serviceId)?.values() ?? []) {
      this.#putTask(task, reachableBy(task));
    }
  }

  #refreshService(serviceId: string): void {
    const known = this.#services.get(serviceId);
    if (known === undefined) return;
    const rows = entriesOf(known.service, (target) => this.#find(target));
    this.#removeService(
      serviceId,
      known.networkIds.filter((id) => !rows.has(id)),
    );
    for (const [networkId, row] of rows) {
      const { services } = this.#entry(networkId);
      this.#put(networkId, "services", services, serviceId, ServiceEntrySchema, row);
    }
    known.networkIds = [...rows.keys()];
  }

  #removeService(serviceId: string, networkIds: readonly string[]): void {
    for (const networkId of networkIds) {
      const entry = this.#entry(networkId);
      this.#remove(networkId, "services", entry.services, serviceId);
      this.#forgetIfEmpty(networkId, entry);
    }
  }

  #countTargets(service: Service, here: boolean): void {
    for (const target of targetsOf(service)) {
      const services = this.#targets.get(target) ?? new Set();
      if (here) services.add(service.id);
      else services.delete(service.id);
      if (services.size > 0) this.#targets.set(target, services);
      else this.#targets.delete(target);
    }
  }

  #find(target: string): Network | undefined {
    const byId = this.#entries.get(target)?.network;
    return byId ?? this.#entries.get(this.#names.get(target.toLowerCase()) ?? "")?.network;
  }

  /** A network that was removed is described as those who still serve it remember it. */
  #refreshHeader(networkId: string, entry: Entry): void {
    const source = entry.network ?? this.#remembered(networkId, entry);
    const header = source === undefined ? undefined : headerOf(source);
    const before = entry.header;
    entry.header = header;
    if (header === undefined || before === undefined) return;
    if (!equals(NetworkTableSchema, before, header)) this.#listener.header(networkId);
  }

  #remembered(networkId: string, { peers }: Entry): Network | undefined {
    const [first] = [...peers.keys()].sort();
    if (first === undefined) return undefined;
    return servedBy(this.#nodes.get(first)).get(networkId)?.network;
  }

  #put<S extends DescMessage>(
    networkId: string,
    kind: RowKind,
    rows: Map<string, MessageShape<S>>,
    id: string,
    schema: S,
    row: MessageShape<S>,
  ): void {
    const before = rows.get(id);
    if (before !== undefined && equals(schema, before, row)) return;
    rows.set(id, row);
    this.#listener.row(networkId, kind, id);
  }

  #remove(networkId: string, kind: RowKind, rows: Map<string, unknown>, id: string): void {
    if (rows.delete(id)) this.#listener.row(networkId, kind, id);
  }

  #entry(networkId: string): Entry {
    const known = this.#entries.get(networkId);
    if (known !== undefined) return known;
    const entry: Entry = {
      network: undefined,
      header: undefined,
      peers: new Map(),
      endpoints: new Map(),
      services: new Map(),
    };
    this.#entries.set(networkId, entry);
    return entry;
  }

  #forgetIfEmpty(networkId: string, entry: Entry): void {
    if (entry.network !== undefined) return;
    if (entry.peers.size + entry.endpoints.size + entry.services.size > 0) return;
    this.#entries.delete(networkId);
  }
}

/** What makes a row is the same, so that the row is. */
function isSameToOthers(a: Task, b: Task): boolean {
  return (
    a.nodeId === b.nodeId &&
    a.networks === b.networks &&
    a.spec === b.spec &&
    a.desiredState === b.desiredState &&
    a.status?.state === b.status?.state &&
    a.status?.withdrawn === b.status?.withdrawn &&
    hasLetGo(a) === hasLetGo(b) &&
    a.annotations === b.annotations &&
    a.serviceAnnotations === b.serviceAnnotations
  );
}

/** What the service may have rows by: names and ids of its spec, and where it has addresses. */
function targetsOf({ spec, endpoint }: Service): ReadonlySet<string> {
  const named = [...(spec?.task?.networks ?? []), ...(spec?.networks ?? [])];
  const given = endpoint?.virtualIps ?? [];
  return new Set([
    ...named.map(({ target }) => target),
    ...given.map(({ networkId }) => networkId),
  ]);
}
