/** Refusals of specs that cannot be converted. */

import { EngineError } from "#base/error.ts";

export function invalid(message: string): EngineError {
  return new EngineError("invalid-argument", message);
}

/** A value of an enumeration by its name in JSON; empty means `fallback`. */
export function named<T>(
  names: Readonly<Record<string, T>>,
  value: string,
  fallback: T,
  refusal: (quoted: string) => string,
): T {
  if (value === "") return fallback;
  const found = Object.hasOwn(names, value.toLowerCase()) ? names[value.toLowerCase()] : undefined;
  if (found === undefined) throw invalid(refusal(JSON.stringify(value)));
  return found;
}

/** The other way round. */
export function nameOf<T, N extends string>(
  names: Readonly<Record<N, T>>,
  value: T,
  fallback: N,
): N {
  for (const name of Object.keys(names) as N[]) if (names[name] === value) return name;
  return fallback;
}
