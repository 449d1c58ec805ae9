/**
 * A cluster that a script drives by hand: nodes on storage in memory, a network that delivers when
 * told, and storage threads that work when told. Everything that happens is printed.
 *
 * The state machine of every node appends: its state is the concatenation of all payloads, and its
 * history of snapshots, one per entry, is what followers are sent.
 */

import { invariant, must } from "#base/invariant.ts";
import { decodeConfChange } from "../confchange/codec.ts";
import { isLocalTarget, type RaftConfig } from "../config.ts";
import { describeMessage, describeReady, describeStepError } from "../describe.ts";
import { MemoryStorage } from "../memory-storage.ts";
import { EMPTY_HARD_STATE, isEmptyHardState, isEmptySnapshot } from "../message.ts";
import { RawNode } from "../rawnode.ts";
import type {
  ConfState,
  Entry,
  HardState,
  Message,
  MessageType,
  NodeId,
  Snapshot,
} from "../types.ts";
import { Output } from "./output.ts";

/** Gives the newest snapshot of the node's history whenever one is asked for. */
class HistoryStorage extends MemoryStorage {
  readonly history: Snapshot[] = [];

  override snapshot(): Snapshot {
    return must(this.history.at(-1), "a snapshot");
  }

  /** The snapshot that is stored, as opposed to the newest one that could be. */
  initialSnapshot(): Snapshot {
    return super.snapshot();
  }
}

export interface ClusterNode {
  readonly id: NodeId;
  readonly raw: RawNode;
  readonly storage: HistoryStorage;
  readonly config: RaftConfig;
  readonly appendWork: Message[];
  readonly applyWork: Message[];
}

export class Cluster {
  readonly output = new Output();
  readonly nodes: ClusterNode[] = [];
  #network: Message[] = [];

  node(id: NodeId): ClusterNode {
    return must(this.nodes[id - 1], `node ${id}`);
  }

  /** Adds nodes with the next ids, all starting from `snapshot`. */
  addNodes(count: number, template: Omit<RaftConfig, "id" | "storage">, snapshot: Snapshot): void {
    for (let i = 0; i < count; i++) {
      const id = this.nodes.length + 1;
      const storage = new HistoryStorage();
      if (snapshot.metadata.index > 0) storage.applySnapshot(snapshot);
      storage.history.push(snapshot);
      const config = { ...template, id, storage, logger: this.output };
      const raw = new RawNode(config);
      this.nodes.push({ id, raw, storage, config, appendWork: [], applyWork: [] });
    }
  }

  /** A node that lost everything but its storage, whose last snapshot is the start of its state. */
  restart(id: NodeId): void {
    const old = this.node(id);
    const { index } = old.storage.initialSnapshot().metadata;
    old.storage.history.splice(0, Infinity, old.storage.initialSnapshot());
    const raw = new RawNode({ ...old.config, applied: index });
    this.nodes[id - 1] = { ...old, raw, appendWork: [], applyWork: [] };
  }

  /** Puts a message on the network as if a node had sent it. */
  inject(m: Message): void {
    this.#network.push(m);
  }

  /** Delivers or drops what waits for one node; returns how many messages that were. */
  deliver(to: NodeId, drop: boolean, type: MessageType | undefined): number {
    const taken = this.#waiting(to, drop, type);
    this.#network = this.#network.filter((m) => !taken.includes(m));
    for (const m of taken) {
      this.output.write(`${drop ? "dropped: " : ""}${describeMessage(m)}\n`);
      if (drop) continue;
      const refused = this.node(to).raw.step(m);
      if (refused !== undefined) this.output.write(`${describeStepError(refused)}\n`);
    }
    return taken.length;
  }

  processReady(id: NodeId): void {
    const node = this.node(id);
    const ready = node.raw.ready();
    this.output.write(describeReady(ready));
    const isAsync = node.config.asyncStorageWrites;
    if (!isAsync) {
      const { hardState = EMPTY_HARD_STATE, entries, snapshot } = ready;
      store(node, hardState, entries, snapshot);
      apply(node, ready.committedEntries);
    }
    for (const m of ready.messages) {
      if (!isLocalTarget(m.to)) this.#network.push(m);
      else if (m.type === "MsgStorageAppend") node.appendWork.push(m);
      else node.applyWork.push(m);
    }
    if (!isAsync) node.raw.advance();
  }

  processAppendThread(id: NodeId): void {
    const node = this.node(id);
    const work = node.appendWork.shift();
    if (work === undefined) {
      this.output.write("no append work to perform");
      return;
    }
    this.#announce(work);
    const { term, vote, commit, entries, snapshot } = work;
    store(node, { term, vote, commit }, entries, snapshot);
    this.#answer(work);
  }

  processApplyThread(id: NodeId): void {
    const node = this.node(id);
    const work = node.applyWork.shift();
    if (work === undefined) {
      this.output.write("no apply work to perform");
      return;
    }
    this.#announce(work);
    apply(node, work.entries);
    this.#answer(work);
  }

  /** Lets the nodes handle Readys, messages and storage work until none is left. */
  stabilize(ids: readonly NodeId[]): void {
    const nodes = ids.length > 0 ? ids.map((id) => this.node(id)) : [...this.nodes];
    while (this.#stabilizeOnce(nodes));
  }

  #stabilizeOnce(nodes: readonly ClusterNode[]): boolean {
    let worked = false;
    const section = (id: NodeId, title: string, body: () => void) => {
      this.output.write(`> ${id} ${title}\n`);
      body();
      worked = true;
    };
    const { output } = this;
    for (const { id, raw } of nodes) {
      if (!raw.hasReady()) continue;
      section(id, "handling Ready", () => output.indent(() => this.processReady(id)));
    }
    for (const { id } of nodes) {
      if (this.#waiting(id, false, undefined).length === 0) continue;
      section(id, "receiving messages", () =>
        output.indent(() => this.deliver(id, false, undefined)),
      );
    }
    for (const { id, appendWork } of nodes) {
      if (appendWork.length === 0) continue;
      section(id, "processing append thread", () => {
        while (appendWork.length > 0) output.indent(() => this.processAppendThread(id));
      });
    }
    for (const { id, applyWork } of nodes) {
      if (applyWork.length === 0) continue;
      section(id, "processing apply thread", () => {
        while (applyWork.length > 0) output.indent(() => this.processApplyThread(id));
      });
    }
    return worked;
  }

  /** Local answers are never dropped: the storage threads are reliable. */
  #waiting(to: NodeId, drop: boolean, type: MessageType | undefined): readonly Message[] {
    return this.#network.filter((m) => {
      const isLocal = m.from === m.to || isLocalTarget(m.from) || isLocalTarget(m.to);
      return m.to === to && !(drop && isLocal) && (type === undefined || m.type === type);
    });
  }

  #announce(work: Message): void {
    this.output.write(`Processing:\n${describeMessage({ ...work, responses: [] })}\n`);
  }

  #answer(work: Message): void {
    const lines = work.responses.map((m) => `${describeMessage(m)}\n`);
    this.output.write(`Responses:\n${lines.join("")}`);
    this.#network.push(...work.responses);
  }
}

function store(
  { storage }: ClusterNode,
  hardState: HardState,
  entries: readonly Entry[],
  snapshot: Snapshot | undefined,
): void {
  if (!isEmptyHardState(hardState)) storage.setHardState(hardState);
  if (snapshot === undefined || isEmptySnapshot(snapshot)) {
    storage.append(entries);
    return;
  }
  invariant(entries.length === 0, "a snapshot comes without entries");
  storage.applySnapshot(snapshot);
}

function apply(node: ClusterNode, entries: readonly Entry[]): void {
  for (const entry of entries) {
    const previous = must(node.storage.history.at(-1), "a snapshot to build on");
    const { update, confState } = applyEntry(node, entry, previous.metadata.confState);
    const { index, term } = entry;
    const data = Uint8Array.from([...previous.data, ...update]);
    node.storage.history.push({ data, metadata: { index, term, confState } });
  }
}

function applyEntry(
  { raw }: ClusterNode,
  entry: Entry,
  current: ConfState,
): { readonly update: Uint8Array; readonly confState: ConfState } {
  if (entry.type === "normal") return { update: entry.data, confState: current };
  const change = decodeConfChange(entry);
  invariant(change.ok, "a committed membership change is readable");
  return { update: change.value.context, confState: raw.applyConfChange(change.value) };
}
