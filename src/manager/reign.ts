/**
 * What a service of the leader knows: made when this manager begins to lead, thrown away with its
 * reign. Calls that come at any other time are refused.
 */

import { EngineError } from "#base/error.ts";

export interface Reign {
  /** Works until the reign's signal is aborted. */
  run(): Promise<void>;
  /** Ends whoever still waits for something. */
  close(reason: EngineError): void;
}

export interface ReignHolder<R extends Reign> {
  /** Throws `aborted` unless this manager leads. */
  readonly current: () => R;
  /** Undefined unless this manager leads. */
  readonly peek: () => R | undefined;
  /** Serves until the signal is aborted; to be handed to `ClusterState.onLeadership`. */
  readonly lead: (signal: AbortSignal) => Promise<void>;
}

/** `stopped`: what a caller is told who comes when there is no reign, or whose reign ends. */
export function holdReign<R extends Reign>(
  begin: (signal: AbortSignal) => R,
  stopped: string,
): ReignHolder<R> {
  let reign: R | undefined;
  return {
    current: () => {
      if (reign === undefined) throw new EngineError("aborted", stopped);
      return reign;
    },
    peek: () => reign,
    lead: async (signal) => {
      const mine = begin(signal);
      reign = mine;
      try {
        await mine.run();
      } finally {
        if (reign === mine) reign = undefined;
        mine.close(new EngineError("aborted", stopped));
      }
    },
  };
}
