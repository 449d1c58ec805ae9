/**
 * google.protobuf.Any as containerd writes it: the type URL is the bare message name (or, for JSON
 * payloads such as the runtime spec, containerd's own name of the Go type), without the
 * `type.googleapis.com/` that protobuf libraries put in front.
 */

import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import { AnySchema } from "@bufbuild/protobuf/wkt";

/** The type URL of a container's OCI runtime spec. */
export const RUNTIME_SPEC_URL = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/** The type URL of the process of an exec. */
export const RUNTIME_PROCESS_URL = "types.containerd.io/opencontainers/runtime-spec/1/Process";

export function packMessage<D extends DescMessage>(schema: D, init: MessageInitShape<D>): Any {
  return create(AnySchema, {
    typeUrl: schema.typeName,
    value: toBinary(schema, create(schema, init)),
  });
}

export function packJson(typeUrl: string, value: unknown): Any {
  return create(AnySchema, { typeUrl, value: new TextEncoder().encode(JSON.stringify(value)) });
}

/** The message, when the Any holds one of that type; a prefix before the name does not matter. */
export function unpackMessage<D extends DescMessage>(
  any: Any | undefined,
  schema: D,
): MessageShape<D> | undefined {
  if (any === undefined) return undefined;
  const name = any.typeUrl.slice(any.typeUrl.lastIndexOf("/") + 1);
  return name === schema.typeName ? fromBinary(schema, any.value) : undefined;
}
