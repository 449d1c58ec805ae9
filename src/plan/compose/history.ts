/**
 * A stack's history: what each deploy made of its services, kept as configs of the swarm that carry
 * the stack's label, so that every manager has it and removing the stack removes it.
 */

import { NAMESPACE_LABEL, type SparseServiceSpec } from "./stack.ts";

/** On a config: which stack's history it belongs to, and its number. */
export const HISTORY_LABEL = "skep.stack.history";
export const REVISION_LABEL = "skep.stack.revision";
/** Revisions kept. */
export const HISTORY_MAX = 10;
/** A config's data may not be larger. */
const DATA_MAX = 1_000_000;

export interface Revision {
  readonly revision: number;
  /** The revision that was gone back to, if that is what made this one. */
  readonly back?: number;
  /** As they were sent: images with their digests. */
  readonly services: readonly SparseServiceSpec[];
}

export interface HistoryConfig {
  readonly Name: string;
  readonly Labels: Readonly<Record<string, string>>;
  /** Base64, as the API wants it. */
  readonly Data: string;
}

const INFIX = "_skep.history.";

export function isHistoryName(name: string): boolean {
  return name.includes(INFIX);
}

/** Undefined when it is too large to be kept. */
export function historyConfig(
  stack: string,
  revision: Revision,
  encode: (text: string) => string,
): HistoryConfig | undefined {
  const text = JSON.stringify(revision);
  if (text.length > DATA_MAX / 2) return undefined;
  return {
    Name: `${stack}${INFIX}${revision.revision}`,
    Labels: {
      [NAMESPACE_LABEL]: stack,
      [HISTORY_LABEL]: stack,
      [REVISION_LABEL]: String(revision.revision),
    },
    Data: encode(text),
  };
}

/** Undefined for what is no revision of ours. */
export function readRevision(text: string): Revision | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { revision, services } = value as Partial<Revision>;
  if (typeof revision !== "number" || !Array.isArray(services)) return undefined;
  const named = services.every(
    (spec) => typeof (spec as SparseServiceSpec | null)?.Name === "string",
  );
  return named ? (value as Revision) : undefined;
}

/** Whether two deploys made the same. */
export function sameServices(a: Revision, b: Revision): boolean {
  return JSON.stringify(a.services) === JSON.stringify(b.services);
}
