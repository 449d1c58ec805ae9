/** Parts that the Engine API's swarm objects share. Types only, exactly as they travel. */

export type StringMap = Readonly<Record<string, string>>;

export interface ObjectVersion {
  /** Counts the writes of the whole swarm; absent means 0. */
  readonly Index?: number;
}

/** What every stored object begins with. Times are RFC 3339 with up to nanoseconds. */
export interface ObjectMeta {
  readonly ID: string;
  readonly Version: ObjectVersion;
  readonly CreatedAt: string;
  readonly UpdatedAt: string;
}

export interface Annotations {
  readonly Name?: string;
  readonly Labels: StringMap;
}

export interface Driver {
  readonly Name?: string;
  readonly Options?: StringMap;
}

export interface Platform {
  readonly Architecture?: string;
  readonly OS?: string;
}

/** One of the two is there. */
export interface GenericResource {
  readonly NamedResourceSpec?: { readonly Kind?: string; readonly Value?: string };
  readonly DiscreteResourceSpec?: { readonly Kind?: string; readonly Value?: number };
}

export interface Resources {
  /** Billionths of a CPU. */
  readonly NanoCPUs?: number;
  readonly MemoryBytes?: number;
  readonly GenericResources?: readonly GenericResource[];
}

/** Who signs node certificates, and what they are checked against. Bytes are base64. */
export interface TlsInfo {
  /** PEM. */
  readonly TrustRoot?: string;
  /** DER of the issuer's name. */
  readonly CertIssuerSubject?: string;
  /** DER of the issuer's public key. */
  readonly CertIssuerPublicKey?: string;
}
