/**
 * Notices that the leader's process is gone, so that the others need not wait out its silence: when
 * the stream to it breaks, its port is knocked at, and a refused connection says that nobody listens
 * there. Silence says nothing: the way to the leader may be slow, or cut.
 *
 * Only time is won by it, never safety: who hurries asks for votes like anybody else, before that
 * whether it would get them, and is denied by those who still hear the leader.
 */

import { connect } from "node:net";
import type { NodeId } from "#raft/index.ts";
import type { Members } from "./members.ts";

const KNOCK_TIMEOUT_MS = 500;

export interface BereavementOptions {
  readonly members: Members;
  /** The leader as far as known, or `NONE`. */
  readonly leadId: () => NodeId;
  /** The leader of that id is gone. */
  readonly gone: (id: NodeId) => void;
}

/** Call it when the connection to a member broke. */
export async function lookAfter(id: NodeId, options: BereavementOptions): Promise<void> {
  const { members, leadId, gone } = options;
  const addr = members.get(id)?.addr;
  if (leadId() !== id || addr === undefined) return;
  if ((await refusesConnections(addr)) && leadId() === id) gone(id);
}

function refusesConnections(addr: string): Promise<boolean> {
  const colon = addr.lastIndexOf(":");
  const host = addr.slice(0, colon).replace(/^\[(.*)\]$/, "$1");
  const port = Number(addr.slice(colon + 1));
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (isRefused: boolean) => {
      socket.destroy();
      resolve(isRefused);
    };
    socket.setTimeout(KNOCK_TIMEOUT_MS, () => end(false));
    socket.on("connect", () => end(false));
    socket.on("error", (error: NodeJS.ErrnoException) => end(error.code === "ECONNREFUSED"));
  });
}
