/**
 * `--node-generic-resource KIND=VALUE`, as dockerd reads it: a number is a count of things that are
 * all alike ("ssd=3"), anything else the name of one thing ("gpu=UUID1", several times for several).
 */

import { create } from "@bufbuild/protobuf";
import { EngineError } from "#base/error.ts";
import {
  DiscreteGenericResourceSchema,
  type GenericResource,
  GenericResourceSchema,
  NamedGenericResourceSchema,
} from "#wire/gen/swarmkit/types_pb.js";

/** Throws `invalid-argument` with dockerd's words; a kind is either counted or named, never both. */
export function parseGenericResources(items: readonly string[]): readonly GenericResource[] {
  const kinds = new Map<string, "counted" | "named">();
  return items
    .flatMap((item) => item.split(","))
    .map((item) => {
      const [, kind = "", value = ""] = /^([^=]+)=([^=]+)$/.exec(item.trim()) ?? [];
      if (kind === "") throw refusal(items);
      const how = /^\d+$/.test(value) ? "counted" : "named";
      const before = kinds.get(kind);
      if (before !== undefined && (before !== how || how === "counted")) throw refusal(items);
      kinds.set(kind, how);
      return how === "counted" ? counted(kind, value) : named(kind, value);
    });
}

function counted(kind: string, value: string): GenericResource {
  const spec = create(DiscreteGenericResourceSchema, { kind, value: BigInt(value) });
  return create(GenericResourceSchema, { resource: { case: "discreteResourceSpec", value: spec } });
}

function named(kind: string, value: string): GenericResource {
  const spec = create(NamedGenericResourceSchema, { kind, value });
  return create(GenericResourceSchema, { resource: { case: "namedResourceSpec", value: spec } });
}

function refusal(items: readonly string[]): EngineError {
  return new EngineError(
    "invalid-argument",
    `invalid generic resource specification: ${items.join(",")}`,
  );
}
