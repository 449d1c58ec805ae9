/** Reading and changing a place deep in a spec, without touching the rest. */

export type Json = Readonly<Record<string, unknown>>;
/** A place, from the root, and its new value. */
export type Edit = readonly [path: readonly string[], value: unknown];

export function isRecord(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function listAt(spec: Json, path: readonly string[]): readonly unknown[] {
  let value: unknown = spec;
  for (const key of path) value = isRecord(value) ? value[key] : undefined;
  return Array.isArray(value) ? (value as readonly unknown[]) : [];
}

export function setAt(spec: Json, [path, value]: Edit): Json {
  const [key, ...rest] = path;
  if (key === undefined) return spec;
  if (rest.length === 0) return { ...spec, [key]: value };
  const inner = spec[key];
  return { ...spec, [key]: setAt(isRecord(inner) ? inner : {}, [rest, value]) };
}
