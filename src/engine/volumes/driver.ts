/** What keeps volumes: the `local` driver, and those that plug-ins bring. */

export interface DriverVolume {
  readonly name: string;
  /** Empty while it is not mounted, if the driver says nothing then. */
  readonly mountpoint: string;
  /** RFC 3339. */
  readonly createdAt?: string;
  readonly status?: Readonly<Record<string, unknown>>;
}

export interface VolumeDriver {
  readonly name: string;
  scope(): Promise<"local" | "global">;
  /** Makes the volume; success if it is there. */
  create(name: string, options: Readonly<Record<string, string>>): Promise<void>;
  remove(name: string): Promise<void>;
  /** The host path to bind. Called once per user, with the user's id. */
  mount(name: string, userId: string): Promise<string>;
  /** `isLast`: nobody else on this host has it mounted. */
  unmount(name: string, userId: string, isLast: boolean): Promise<void>;
  /** Undefined if the driver has no such volume. */
  get(name: string): Promise<DriverVolume | undefined>;
  list(): Promise<readonly DriverVolume[]>;
}
