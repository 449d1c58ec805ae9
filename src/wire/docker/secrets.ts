/** Secrets in the Engine API. Types only. */

import type { Annotations, Driver, ObjectMeta } from "./common.ts";

export interface SecretSpec extends Annotations {
  /** Base64; only ever sent by clients. */
  readonly Data?: string;
  /** Where the value comes from when it is not `Data`. */
  readonly Driver?: Driver;
  readonly Templating?: Driver;
}

export interface Secret extends ObjectMeta {
  readonly Spec: SecretSpec;
}
