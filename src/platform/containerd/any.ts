/**
 * google.protobuf.Any as containerd writes it: the type URL is the bare message name (or, for JSON
 * payloads such as the runtime spec, containerd's own name of the Go type), without the
 * `type.googleapis.com/` that protobuf libraries put in front.
 */

import { type DescMessage, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";

/** The message, when the Any holds one of that type; a prefix before the name does not matter. */
export function unpackMessage<D extends DescMessage>(
  any: Any | undefined,
  schema: D,
): MessageShape<D> | undefined {
  if (any === undefined) return undefined;
  const name = any.typeUrl.slice(any.typeUrl.lastIndexOf("/") + 1);
  return name === schema.typeName ? fromBinary(schema, any.value) : undefined;
}
