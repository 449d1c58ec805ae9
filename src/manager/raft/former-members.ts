/**
 * Managers whose certificate outlived what it was made for. A member that slept does not know yet who came
 * in meanwhile, so it has to believe a manager's certificate alone, or it would never hear of them. But of
 * whoever it was given to before this member's newest change, it should have heard: that one was a member
 * and is none any more.
 */

import { BACKDATE_MS } from "#pki/profile.ts";
import type { PeerIdentity } from "#platform/grpc/server.ts";
import type { Store } from "#store/store.ts";

/** As far as clocks of leaders may be apart (docs/identity.md). */
const SKEW_MS = 3_600_000;

/** Why the caller speaks for no member that is not known here; undefined where it may. */
export function formerMember(
  peer: PeerIdentity | undefined,
  store: Pick<Store, "view" | "newestMs">,
): string | undefined {
  if (peer?.since === undefined) return undefined;
  const node = store.view().get("node", peer.nodeId);
  if (node === undefined) {
    // Its node was written before it got a certificate, and before anything newer than that.
    const knownSinceMs = peer.since * 1000 + BACKDATE_MS + SKEW_MS;
    return knownSinceMs < store.newestMs
      ? "a manager's certificate of a node that is in this swarm no more"
      : undefined;
  }
  return peer.since <= node.barredManagerSince
    ? "a manager's certificate from before its demotion"
    : undefined;
}
