/** What objects may be called. */

import type { Annotations } from "#wire/gen/swarmkit/types_pb.js";
import { invalid } from "./refusal.ts";

/** The pattern of a DNS label that may hold underscores; written so that it cannot backtrack. */
const DNS_NAME = /^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9])*$/;
const FILE_NAME = /^[a-zA-Z0-9](?:[-_.]*[a-zA-Z0-9])*$/;
const DNS_NAME_MAX = 63;
const FILE_NAME_MAX = 64;

/** Services and networks: their names are resolved by DNS. */
export function checkDnsName(annotations: Annotations | undefined): void {
  const name = annotations?.name ?? "";
  if (name === "") throw invalid("meta: name must be provided");
  if (!DNS_NAME.test(name)) throw invalid("name must be valid as a DNS name component");
  if (name.length > DNS_NAME_MAX) throw invalid("name must be 63 characters or fewer");
}

/** Secrets and configs: their names become file names. */
export function checkFileName(annotations: Annotations | undefined): void {
  const name = annotations?.name ?? "";
  if (name === "") throw invalid("name must be provided");
  if (name.length > FILE_NAME_MAX || !FILE_NAME.test(name)) {
    throw invalid(
      "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]",
    );
  }
}
