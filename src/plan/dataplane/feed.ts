/**
 * What one node has yet to be told of the tables. It holds names of rows, not rows: whatever
 * changes how often, a message has each row once and as it is newest, and a slow node costs no more
 * than its tables are large.
 */

import { create } from "@bufbuild/protobuf";
import {
  NetworkChangeSchema,
  NetworkTableSchema,
  type TablesMessage,
  TablesMessageSchema,
  TablesMessage_Type as Type,
} from "#wire/gen/skep/dataplane_pb.js";
import type { DataPlaneTables, RowKind, Rows } from "./tables.ts";

/** Rows in one message at most; what there is beyond that follows in further parts. */
const PART_ROWS = 10_000;
const KINDS = ["peers", "endpoints", "services"] as const;

type Dirty = Readonly<Record<RowKind, Set<string>>>;

export class TablesFeed {
  readonly nodeId: string;
  readonly #tables: DataPlaneTables;
  readonly #rows = new Map<string, Dirty>();
  /** Networks that are to be sent whole. */
  readonly #whole = new Set<string>();
  readonly #gone = new Set<string>();
  readonly #released: Set<string>;
  #fresh = true;
  #port = false;

  /** `released`: tasks of the node that may be stopped already. */
  constructor(tables: DataPlaneTables, nodeId: string, released: Iterable<string>) {
    this.#tables = tables;
    this.nodeId = nodeId;
    this.#released = new Set(released);
  }

  get pending(): boolean {
    const { size } = this.#rows;
    return (
      this.#fresh ||
      this.#port ||
      size + this.#whole.size + this.#gone.size + this.#released.size > 0
    );
  }

  row(networkId: string, kind: RowKind, id: string): void {
    if (this.#fresh || this.#whole.has(networkId)) return;
    const dirty = this.#rows.get(networkId) ?? {
      peers: new Set(),
      endpoints: new Set(),
      services: new Set(),
    };
    dirty[kind].add(id);
    this.#rows.set(networkId, dirty);
  }

  /** The node serves the network, or serves one that is not what it was. */
  whole(networkId: string): void {
    if (this.#fresh) return;
    this.#gone.delete(networkId);
    this.#rows.delete(networkId);
    this.#whole.add(networkId);
  }

  gone(networkId: string): void {
    if (this.#fresh) return;
    this.#whole.delete(networkId);
    this.#rows.delete(networkId);
    this.#gone.add(networkId);
  }

  release(taskId: string): void {
    this.#released.add(taskId);
  }

  dataPathPort(): void {
    this.#port = true;
  }

  /** All that is pending, in the parts of one message; the first ever is complete. */
  take(): TablesMessage[] {
    const parts = new Parts(this.#tables, this.#fresh);
    const whole = this.#fresh ? this.#tables.servedBy(this.nodeId) : this.#whole;
    for (const networkId of whole) {
      const rows = this.#tables.rows(networkId);
      if (rows !== undefined) parts.whole(rows);
    }
    for (const [networkId, dirty] of this.#rows) {
      const rows = this.#tables.rows(networkId);
      if (rows !== undefined) parts.changed(networkId, rows, dirty);
    }
    const messages = parts.end([...this.#gone], [...this.#released]);
    this.#fresh = false;
    this.#port = false;
    this.#rows.clear();
    this.#whole.clear();
    this.#gone.clear();
    this.#released.clear();
    return messages;
  }
}

/** Fills messages up to their limit. */
class Parts {
  readonly #tables: DataPlaneTables;
  readonly #messages: TablesMessage[] = [];
  #message: TablesMessage;
  #count = 0;

  constructor(tables: DataPlaneTables, complete: boolean) {
    this.#tables = tables;
    this.#message = this.#begin(complete ? Type.COMPLETE : Type.INCREMENTAL);
  }

  whole(rows: Rows): void {
    const { header } = rows;
    const size = KINDS.reduce((sum, kind) => sum + rows[kind].size, 0);
    if (this.#count + size <= PART_ROWS) {
      this.#count += size;
      this.#message.networks.push({
        ...header,
        peers: [...rows.peers.values()],
        endpoints: [...rows.endpoints.values()],
        services: [...rows.services.values()],
      });
      return;
    }
    this.#message.networks.push(create(NetworkTableSchema, header));
    const all = (kind: RowKind) => new Set(rows[kind].keys());
    this.changed(header.networkId, rows, {
      peers: all("peers"),
      endpoints: all("endpoints"),
      services: all("services"),
    });
  }

  changed(networkId: string, rows: Rows, dirty: Dirty): void {
    let change = create(NetworkChangeSchema, { networkId });
    this.#message.changes.push(change);
    const room = () => {
      if (this.#count >= PART_ROWS) {
        this.#next();
        change = create(NetworkChangeSchema, { networkId });
        this.#message.changes.push(change);
      }
      this.#count += 1;
      return change;
    };
    for (const id of dirty.peers) {
      const row = rows.peers.get(id);
      if (row === undefined) room().removedPeers.push(id);
      else room().peers.push(row);
    }
    for (const id of dirty.endpoints) {
      const row = rows.endpoints.get(id);
      if (row === undefined) room().removedEndpoints.push(id);
      else room().endpoints.push(row);
    }
    for (const id of dirty.services) {
      const row = rows.services.get(id);
      if (row === undefined) room().removedServices.push(id);
      else room().services.push(row);
    }
  }

  end(removedNetworks: string[], releasedTasks: string[]): TablesMessage[] {
    Object.assign(this.#message, { removedNetworks, releasedTasks });
    return [...this.#messages, this.#message];
  }

  #next(): void {
    this.#messages.push({ ...this.#message, continued: true });
    this.#message = this.#begin(Type.INCREMENTAL);
    this.#count = 0;
  }

  #begin(type: Type): TablesMessage {
    return create(TablesMessageSchema, {
      type,
      revision: BigInt(this.#tables.revision),
      dataPathPort: this.#tables.dataPathPort,
    });
  }
}
