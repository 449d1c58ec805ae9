/** What a test and its manager processes say to each other. */

export type Order = { readonly id: number } & Command;

export type Command =
  | { readonly op: "start" }
  | { readonly op: "init"; readonly forceNewCluster: boolean; readonly autoLock?: boolean }
  | { readonly op: "join"; readonly remote: string; readonly token: string }
  | { readonly op: "info" }
  | { readonly op: "token" }
  /** Writes straight to the store, numbers `from` to `to`, each to one of the objects in turn. */
  | { readonly op: "fill"; readonly from: number; readonly to: number; readonly objects: number }
  /** Whether managers lock, and whether they get another key to unlock with. */
  | { readonly op: "lock"; readonly autoLock: boolean; readonly rotate: boolean }
  | { readonly op: "unlockKey" }
  | { readonly op: "unlock"; readonly key: string }
  /** Makes a node a manager, or a worker. */
  | { readonly op: "role"; readonly nodeId: string; readonly isManager: boolean }
  | { readonly op: "remove"; readonly nodeId: string; readonly force: boolean }
  /** As a client of this manager would: the names of all nodes. */
  | { readonly op: "nodes" }
  | { readonly op: "close" };

export interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

export interface ProcessInfo {
  readonly nodeId: string;
  /** As `docker info` shows it. */
  readonly state: string;
  /** It is a manager with its place in the group. */
  readonly active: boolean;
  readonly leads: boolean;
  /** Node id of the leader that it knows. */
  readonly leader: string | undefined;
  readonly members: readonly {
    readonly nodeId: string;
    readonly addr: string;
    readonly voter: boolean;
    /** As the leader sees it. */
    readonly isSilent: boolean;
  }[];
  /** What `docker info` warns of. */
  readonly warnings: readonly string[];
  /** Index of its newest applied entry. */
  readonly index: number;
  readonly memory: { readonly heapUsed: number; readonly external: number; readonly rss: number };
}
