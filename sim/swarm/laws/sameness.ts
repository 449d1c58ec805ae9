/** What must be the same for all: objects of one version, and who leads a term. */

import { toBinary } from "@bufbuild/protobuf";
import { KIND_RULES } from "#store/kinds.ts";
import { storeSnapshotOf } from "#store/snapshot.ts";
import type { ChangeBatch, ReadView } from "#store/types.ts";
import { StoreSnapshotSchema } from "#wire/gen/swarmkit/snapshot_pb.js";
import { Violation } from "../../checker.ts";

/** Every object of a version is the same wherever it is seen. */
export class SameObjects {
  readonly #known = new Map<string, number>();
  changes = 0;

  /** A majority was lost for good: versions may be used again for something else. */
  forget(): void {
    this.#known.clear();
  }

  sees(nodeId: string, { changes }: ChangeBatch): void {
    for (const { kind, action, object } of changes) {
      this.changes++;
      if (action === "delete") continue;
      const key = `${kind}/${object.id}@${object.meta?.version?.index ?? 0n}`;
      const digest = digestOf(toBinary(KIND_RULES[kind].schema, object as never));
      const known = this.#known.get(key);
      if (known === undefined) this.#known.set(key, digest);
      else if (known !== digest) {
        throw new Violation("state-machine safety", `${nodeId} holds another ${key} than others`);
      }
    }
  }
}

/** One leader per term. */
export class OneLeader {
  readonly #leaders = new Map<number, string>();
  #terms = 0;

  get terms(): number {
    return this.#terms;
  }

  /** A majority was lost for good, and with it maybe terms that nobody else has heard of. */
  forget(): void {
    this.#leaders.clear();
  }

  leads(nodeId: string, term: number): void {
    const known = this.#leaders.get(term);
    if (known === nodeId) return;
    if (known !== undefined) {
      throw new Violation("election safety", `${known} and ${nodeId} both lead term ${term}`);
    }
    this.#leaders.set(term, nodeId);
    this.#terms++;
  }
}

export function digestOfView(view: ReadView): number {
  return digestOf(toBinary(StoreSnapshotSchema, storeSnapshotOf(view)));
}

function digestOf(bytes: Uint8Array): number {
  let digest = bytes.length;
  for (const byte of bytes) digest = (Math.imul(digest, 31) + byte) | 0;
  return digest;
}
