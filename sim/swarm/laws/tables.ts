/** In the end every kernel follows exactly the tables that the store makes for its node. */

import { equals } from "@bufbuild/protobuf";
import { applyMessage } from "#plan/dataplane/merge.ts";
import { DataPlane } from "#plan/dataplane/plane.ts";
import type { ReadView } from "#store/types.ts";
import { NetworkTableSchema } from "#wire/gen/skep/dataplane_pb.js";
import { joinParts } from "#wire/tables-parts.ts";
import type { Host } from "../host.ts";

export function misplacedTables(view: ReadView, hosts: readonly Host[]): string | undefined {
  const plane = new DataPlane(() => undefined);
  plane.load(view);
  for (const { nodeId, dataPath } of hosts) {
    const [first, ...rest] = plane.open(nodeId).take();
    if (first === undefined) continue;
    const wanted = applyMessage(new Map(), joinParts(first, rest));
    const { kernel } = dataPath;
    for (const [id, table] of wanted) {
      const own = kernel.get(id);
      if (own === undefined) return `${nodeId} has no table of network ${id}`;
      if (!equals(NetworkTableSchema, own, table)) {
        return `${nodeId} has another table of network ${id} than the store at ${view.index}`;
      }
    }
    for (const id of kernel.keys()) {
      if (!wanted.has(id)) return `${nodeId} still has the table of network ${id}`;
    }
  }
  return undefined;
}
