/**
 * SwarmKit's refusals: the code decides the HTTP status, the message is what users and scripts have
 * read for years, so both are kept to the letter.
 */

import { EngineError } from "#base/error.ts";

export function invalid(message = "invalid argument"): EngineError {
  return new EngineError("invalid-argument", message);
}

export function precondition(message: string): EngineError {
  return new EngineError("failed-precondition", message);
}

export function unimplemented(message: string): EngineError {
  return new EngineError("unimplemented", message);
}

export function notFound(message: string): EngineError {
  return new EngineError("not-found", message);
}

export function alreadyExists(message: string): EngineError {
  return new EngineError("already-exists", message);
}

/** The field that protobuf leaves optional and the service demands. */
export function required<T>(value: T | undefined): T {
  if (value === undefined) throw invalid();
  return value;
}

/** Same, for identifiers: empty is absent. */
export function requiredId(id: string, message?: string): string {
  if (id === "") throw invalid(message);
  return id;
}

/** Somebody else was there first. */
export function conflict(message: string): EngineError {
  return new EngineError("conflict", message);
}
