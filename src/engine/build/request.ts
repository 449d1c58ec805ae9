/** What a build is asked to do, as read from the Engine API's query. */

import type { Readable } from "node:stream";
import type { AuthConfig } from "#wire/docker/images.ts";
import type { Reference } from "#wire/oci.ts";

export interface BuildUlimit {
  readonly name: string;
  readonly soft: number;
  readonly hard: number;
}

export interface BuildRequest {
  /** The context as an archive; read only when there is no `remote`. */
  readonly archive: Readable;
  /** Git repository or URL that the context comes from; "" = the archive. */
  readonly remote: string;
  /** Path of the Dockerfile in the context. */
  readonly dockerfile: string;
  readonly names: readonly Reference[];
  readonly buildArgs: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly target: string;
  readonly noCache: boolean;
  /** Base images are pulled anew. */
  readonly pull: boolean;
  readonly squash: boolean;
  readonly forceRemove: boolean;
  readonly platform: string;
  /** "", "default", "host", "none", "container:NAME" or a network. */
  readonly networkMode: string;
  /** "name:address" */
  readonly extraHosts: readonly string[];
  /** Bytes; 0 = no limit. */
  readonly memory: number;
  /** Memory and swap together; -1 = no limit, 0 = not given. */
  readonly memorySwap: number;
  readonly cpuShares: number;
  readonly cpuPeriod: number;
  readonly cpuQuota: number;
  readonly cpusetCpus: string;
  readonly cpusetMems: string;
  readonly cgroupParent: string;
  readonly shmSizeBytes: number;
  readonly ulimits: readonly BuildUlimit[];
  readonly securityOptions: readonly string[];
  /** Nothing is told but the id. */
  readonly quiet: boolean;
  /** Credentials by registry, as the client has them. */
  readonly auths: ReadonlyMap<string, AuthConfig>;
  readonly signal: AbortSignal;
}
