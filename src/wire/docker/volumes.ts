/** The Engine API's JSON types of volumes, exactly as they travel. Types only. */

/** GET /volumes/{name} and one row of GET /volumes. */
export interface VolumeInspect {
  readonly Name: string;
  readonly Driver: string;
  /** The host path that containers bind. */
  readonly Mountpoint: string;
  /** RFC 3339, whole seconds. */
  readonly CreatedAt?: string;
  readonly Status?: Readonly<Record<string, unknown>>;
  readonly Labels: Readonly<Record<string, string>> | null;
  readonly Scope: "local" | "global";
  readonly Options: Readonly<Record<string, string>> | null;
  /** `system df` only; -1 where it was not computed. */
  readonly UsageData?: { readonly Size: number; readonly RefCount: number } | null;
}

/** POST /volumes/create. */
export interface VolumeCreateBody {
  readonly Name?: string;
  readonly Driver?: string;
  readonly DriverOpts?: Readonly<Record<string, string>> | null;
  readonly Labels?: Readonly<Record<string, string>> | null;
  /** Makes a swarm volume of a CSI driver; not served by the local volumes. */
  readonly ClusterVolumeSpec?: unknown;
}

/** GET /volumes. */
export interface VolumeList {
  readonly Volumes: readonly VolumeInspect[];
  readonly Warnings: readonly string[] | null;
}
