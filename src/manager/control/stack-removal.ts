/**
 * The end of a stack: everything that carries its label goes in one transaction, so that nobody ever
 * sees a half of it. What others use refuses all of it. Networks of a plug-in follow, because the
 * plug-in hears of each first.
 */

import { create } from "@bufbuild/protobuf";
import { EngineError } from "#base/error.ts";
import { isOfPlugin } from "#plan/allocator/network-table.ts";
import { NAMESPACE_LABEL } from "#plan/compose/stack.ts";
import type { ReadView, Tx } from "#store/types.ts";
import {
  type RemoveStackRequest,
  type RemoveStackResponse,
  RemoveStackResponseSchema,
  type StackChange,
  StackChangeSchema,
} from "#wire/gen/skep/deploy_pb.js";
import { RemoveNetworkRequestSchema } from "#wire/gen/swarmkit/control_pb.js";
import { type ControlContext, write } from "./context.ts";
import { refuseInUse, removeNetwork } from "./networks.ts";
import { refuseReferenced } from "./payloads.ts";
import { requiredId } from "./refusal.ts";

/** In the order in which nothing goes that something else still needs. */
const KINDS = ["service", "secret", "config", "network"] as const;
type StackKind = (typeof KINDS)[number];

interface Member {
  readonly kind: StackKind;
  readonly id: string;
  readonly name: string;
}

export async function removeStack(
  context: ControlContext,
  request: RemoveStackRequest,
): Promise<RemoveStackResponse> {
  const stack = requiredId(request.name);
  const { gone, later } = await write(context, (tx) => {
    const members = membersOf(tx, stack);
    const isLater = ({ kind, id }: Member) => {
      const network = kind === "network" ? tx.get("network", id) : undefined;
      return network !== undefined && isOfPlugin(network);
    };
    const now = members.filter((member) => !isLater(member));
    for (const member of now) remove(tx, stack, member);
    return { gone: now, later: members.filter(isLater) };
  });
  for (const { id } of later) {
    await removeNetwork(context, create(RemoveNetworkRequestSchema, { networkId: id }));
  }
  return create(RemoveStackResponseSchema, { changes: [...gone, ...later].map(removal) });
}

function membersOf(view: ReadView, stack: string): readonly Member[] {
  return KINDS.flatMap((kind) => {
    const members: Member[] = [];
    for (const { id, spec } of view.all(kind)) {
      const { labels = {}, name = "" } = spec?.annotations ?? {};
      if (labels[NAMESPACE_LABEL] === stack) members.push({ kind, id, name });
    }
    return members.sort((a, b) => (a.name < b.name ? -1 : 1));
  });
}

function remove(tx: Tx, stack: string, { kind, id, name }: Member): void {
  try {
    if (kind === "network") refuseInUse(tx, id);
    if (kind === "secret" || kind === "config") refuseReferenced(tx, kind, id, name);
  } catch (thrown) {
    if (!(thrown instanceof EngineError)) throw thrown;
    throw new EngineError(
      thrown.code,
      `failed to remove ${kind} ${name}: ${thrown.message}. Nothing of stack ${stack} is removed`,
      { cause: thrown },
    );
  }
  tx.delete(kind, id);
}

function removal({ kind, id, name }: Member): StackChange {
  return create(StackChangeSchema, { kind, action: "remove", id, name });
}
