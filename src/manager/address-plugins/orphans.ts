/**
 * What a plug-in gave to a leader that could not write it down any more. Whether it is written all the
 * same is asked of whoever leads now; if not, it goes back to the plug-in, once: a release that may have
 * been heard is not repeated, since by then the address may be somebody's.
 */

import { isErrorCode, messageOf } from "#base/error.ts";
import { type AddressLease } from "#model/lease.ts";
import { sleep } from "#platform/async.ts";
import { leasesIn } from "./records.ts";
import type { AddressPluginsOptions } from "./reign.ts";

const TRY_MS = 1_000;
const TRIES_MAX = 120;

export interface Orphan {
  /** For the log. */
  readonly what: string;
  isWritten(leases: readonly AddressLease[]): boolean;
  giveBack(): Promise<void>;
}

/** Never rejects. */
export async function giveBackUnwritten(
  { state, clock, log }: Pick<AddressPluginsOptions, "state" | "clock" | "log">,
  orphan: Orphan,
): Promise<void> {
  let reason = "";
  for (let attempt = 0; attempt < TRIES_MAX; attempt += 1) {
    try {
      const view = await state.linearizable();
      if (orphan.isWritten(leasesIn(view).map(({ lease }) => lease))) return;
      await orphan.giveBack();
      log.info("an address plugin has back what was not written down", { what: orphan.what });
      return;
    } catch (error) {
      reason = messageOf(error);
      if (!isErrorCode(error, "unavailable") && !isErrorCode(error, "not-found")) break;
    }
    await sleep(clock, TRY_MS);
  }
  log.warn("an address plugin may hold for the swarm what nobody uses", {
    what: orphan.what,
    reason,
  });
}
