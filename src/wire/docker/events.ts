/** The Engine API's event stream: one JSON object per line of `GET /events`. */

export interface EngineEvent {
  /** Action, actor and image again under their names before API 1.22; containers and images only. */
  readonly status?: string;
  readonly id?: string;
  readonly from?: string;
  /** "container", "image", "network", "volume", "daemon", "service", "node", "secret", "config". */
  readonly Type: string;
  readonly Action: string;
  readonly Actor: { readonly ID: string; readonly Attributes: Readonly<Record<string, string>> };
  readonly scope: "local" | "swarm";
  /** Seconds since the epoch. */
  readonly time: number;
  /** Nanoseconds since the epoch, as a number the way Docker sends it (precision: about 200 ns). */
  readonly timeNano: number;
  /**
   * Ours, scope "swarm" only: the version of the store that the change made. It is the same on every
   * manager; `GET /events?version=N` goes on after it.
   */
  readonly version?: number;
}

/** Parsed `filters` of an event subscription: key to accepted values. */
export type EventFilters = ReadonlyMap<string, readonly string[]>;
