/**
 * The filters of List requests: values of one filter are alternatives, filters are conditions that
 * all must hold, and an empty filter holds for everything.
 */

export function oneOf<T>(value: T, candidates: readonly T[]): boolean {
  return candidates.length === 0 || candidates.includes(value);
}

export function hasOnePrefix(value: string, prefixes: readonly string[]): boolean {
  return prefixes.length === 0 || prefixes.some((prefix) => value.startsWith(prefix));
}

/** A wanted label with an empty value asks only that the label is there. */
export function hasLabels(
  labels: Readonly<Record<string, string>> | undefined,
  wanted: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(wanted).every(([key, value]) => {
    const actual = labels?.[key];
    return actual !== undefined && (value === "" || value === actual);
  });
}

/** The three ways to point at secrets and configs, of which any one suffices. */
export interface NameOrId {
  readonly names: readonly string[];
  readonly namePrefixes: readonly string[];
  readonly idPrefixes: readonly string[];
}

/** Names are compared as the store does: without regard to case. */
export function pointsAt(filters: NameOrId, id: string, name: string): boolean {
  const { names, namePrefixes, idPrefixes } = filters;
  if (names.length + namePrefixes.length + idPrefixes.length === 0) return true;
  const lower = name.toLowerCase();
  return (
    names.some((wanted) => wanted.toLowerCase() === lower) ||
    namePrefixes.some((prefix) => lower.startsWith(prefix.toLowerCase())) ||
    idPrefixes.some((prefix) => id.startsWith(prefix))
  );
}
