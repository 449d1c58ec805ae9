/**
 * The key file of a manager is locked exactly when, and with the key that, the cluster says. With
 * every change of the lock the raft log gets another key, because the old one lay on the disk, or was
 * known to whoever knew the old unlock key: first the new one is put beside it, then the log is
 * written under the new one, and with it the files of this node's tasks; when nothing is left of the old
 * one it is forgotten. A crash at any point leaves a key for all that is on the disk, and the rest is
 * done at the next start.
 */

import { messageOf } from "#base/error.ts";
import type { Clock, Log } from "#base/ports.ts";
import type { Manager } from "#manager/manager.ts";
import { sleep } from "#platform/async.ts";
import type { LockChange, NodeIdentity } from "./identity.ts";

const RETRY_MS = 5_000;

export interface Locking {
  readonly identity: NodeIdentity;
  readonly manager: Pick<Manager, "lock" | "reseal">;
  /** Writes the files of the node's tasks as the lock wants them now. */
  readonly resealTasks: () => Promise<void>;
  /** The lock is another one. "locked": the file was open, and whoever read it has the node's private key. */
  readonly onChange: (change: Exclude<LockChange, "none">) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** Goes on until the signal. */
export async function followLock(locking: Locking, signal: AbortSignal): Promise<void> {
  const { identity, manager, onChange, log } = locking;
  let rotating: Promise<void> | undefined;
  const rotate = () => {
    // One that runs goes on until no key is left to be exchanged.
    rotating ??= rotateRaftKey(locking, signal).finally(() => {
      rotating = undefined;
      if (identity.rotatesRaftKey && !signal.aborted) rotate();
    });
  };
  rotate();
  try {
    for await (const lock of manager.lock(signal)) {
      const change = await identity.setLock(lock.unlockKey, lock.version);
      if (change === "none") continue;
      log.info(
        lock.unlockKey === undefined
          ? "this manager is not locked any more"
          : "this manager is locked with a new key",
      );
      onChange(change);
      rotate();
    }
  } catch (error) {
    if (signal.aborted) return;
    log.error("autolock is not followed any more", { reason: messageOf(error) });
  }
}

async function rotateRaftKey(
  { identity, manager, resealTasks, clock, log }: Locking,
  signal: AbortSignal,
): Promise<void> {
  while (identity.rotatesRaftKey && !signal.aborted) {
    try {
      await manager.reseal();
      await resealTasks();
      await identity.finishRaftKey();
      log.info("the raft log has a new key");
    } catch (error) {
      if (signal.aborted) return;
      log.warn("the raft log has no new key yet, trying again", { reason: messageOf(error) });
      await sleep(clock, RETRY_MS, signal).catch(() => undefined);
    }
  }
}
