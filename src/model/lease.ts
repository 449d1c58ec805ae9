/**
 * What an address plug-in has given to the swarm: a Resource of the store for each pool and each
 * address, from before it is asked for until the plug-in has acknowledged that it has it back. Only one
 * that is GIVEN may be used.
 */

import { create, fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { encodeMessage } from "#wire/encode.ts";
import {
  type AddressLease,
  AddressLeaseSchema,
  AddressLease_State as LeaseState,
} from "#wire/gen/skep/ipam_pb.js";
import { type Resource, ResourceSchema } from "#wire/gen/swarmkit/objects_pb.js";

export { type AddressLease, LeaseState };

export const LEASE_KIND = "skep.ipam";
const TYPE_URL = "type.googleapis.com/skep.v1.AddressLease";

/** Objects of the store are values, and most are read often. */
const READ = new WeakMap<Resource, AddressLease>();

/** Undefined for a resource that is none. */
export function leaseOf(resource: Resource): AddressLease | undefined {
  if (resource.kind !== LEASE_KIND || resource.payload === undefined) return undefined;
  let lease = READ.get(resource);
  if (lease === undefined) {
    lease = fromBinary(AddressLeaseSchema, resource.payload.value);
    READ.set(resource, lease);
  }
  return lease;
}

export function newLease(id: string, init: MessageInitShape<typeof AddressLeaseSchema>): Resource {
  const resource = create(ResourceSchema, {
    id,
    // Names of resources are unique; theirs say nothing.
    annotations: { name: `${LEASE_KIND}/${id}` },
    kind: LEASE_KIND,
  });
  return withLease(resource, create(AddressLeaseSchema, init));
}

/** The resource with other words about the lease. */
export function changedLease(resource: Resource, change: Partial<AddressLease>): Resource {
  const lease = leaseOf(resource);
  return lease === undefined ? resource : withLease(resource, { ...lease, ...change });
}

function withLease(resource: Resource, lease: AddressLease): Resource {
  const value = encodeMessage(AddressLeaseSchema, lease);
  return { ...resource, payload: { $typeName: "google.protobuf.Any", typeUrl: TYPE_URL, value } };
}
