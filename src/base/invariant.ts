/**
 * Bugs stop the process. `invariant` states what must be true at a point of the program; when it is
 * not, memory can no longer be trusted, and restarting from disk is safer than going on. Expected
 * refusals are values (`result.ts`) or `EngineError`s (`error.ts`), never invariants.
 */

/** Thrown by `invariant`; the composition root logs it and ends the process. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** Asserts a fact that only a bug in this program can falsify. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InvariantError(`invariant broken: ${message}`);
}

/** Marks a branch that the types make impossible. */
export function unreachable(value: never): never {
  throw new InvariantError(`unreachable value: ${JSON.stringify(value)}`);
}

/** The value, which must be there: for lookups whose key is known to exist. */
export function must<T>(value: T | undefined | null, what: string): T {
  invariant(value !== undefined && value !== null, `${what} is missing`);
  return value;
}
