/** Messages of the data path that are too large for one frame travel in parts. */

import type { TablesMessage } from "./gen/skep/dataplane_pb.js";

/** The parts of one message, all of the same revision, as that message. */
export function joinParts(first: TablesMessage, rest: readonly TablesMessage[]): TablesMessage {
  const all = [first, ...rest];
  return {
    ...first,
    networks: all.flatMap(({ networks }) => networks),
    changes: all.flatMap(({ changes }) => changes),
    removedNetworks: all.flatMap(({ removedNetworks }) => removedNetworks),
    releasedTasks: all.flatMap(({ releasedTasks }) => releasedTasks),
    continued: false,
  };
}
