/** What secrets and configs have in common: only labels change, and what is in use stays. */

import { create } from "@bufbuild/protobuf";
import type { ReadView } from "#store/types.ts";
import { type Annotations, AnnotationsSchema } from "#wire/gen/swarmkit/types_pb.js";
import { invalid } from "./refusal.ts";

export function relabelled(
  annotations: Annotations | undefined,
  wanted: Annotations | undefined,
): Annotations {
  return { ...(annotations ?? create(AnnotationsSchema)), labels: wanted?.labels ?? {} };
}

export function refuseReferenced(
  view: ReadView,
  kind: "secret" | "config",
  id: string,
  name: string,
): void {
  const users = [...view.find("service", kind, id)].map(
    (service) => service.spec?.annotations?.name ?? "",
  );
  if (users.length === 0) return;
  const noun = users.length === 1 ? "service" : "services";
  throw invalid(`${kind} '${name}' is in use by the following ${noun}: ${users.join(", ")}`);
}
