/** Configs in the Engine API. Types only. */

import type { Annotations, Driver, ObjectMeta } from "./common.ts";

export interface ConfigSpec extends Annotations {
  /** Base64. */
  readonly Data?: string;
  readonly Templating?: Driver;
}

export interface Config extends ObjectMeta {
  readonly Spec: ConfigSpec;
}
