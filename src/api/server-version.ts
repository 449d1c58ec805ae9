/**
 * Versions of the Engine API: which are spoken, and the `/vX.Y` in front of a path. A request without
 * the prefix is served as the newest.
 */

import { EngineError } from "#base/error.ts";
import type { ApiVersion } from "./route.ts";

export const API_VERSION_MIN: ApiVersion = { major: 1, minor: 24 };
export const API_VERSION_MAX: ApiVersion = { major: 1, minor: 51 };

export function formatVersion(version: ApiVersion): string {
  return `${version.major}.${version.minor}`;
}

export interface VersionedPath {
  readonly version: ApiVersion;
  /** The path without the prefix. */
  readonly path: string;
}

const PREFIX = /^\/v(\d{1,4})\.(\d{1,4})(\/.*)$/s;

/** Splits the prefix off; `invalid-argument` with docker's message for a version not spoken. */
export function splitVersion(path: string): VersionedPath {
  const match = PREFIX.exec(path);
  if (match === null) return { version: API_VERSION_MAX, path };
  const [, major = "", minor = "", rest = "/"] = match;
  const version = { major: Number(major), minor: Number(minor) };
  const text = formatVersion(version);
  if (compareVersions(version, API_VERSION_MAX) > 0) {
    throw new EngineError(
      "invalid-argument",
      `client version ${text} is too new. Maximum supported API version is ${formatVersion(API_VERSION_MAX)}`,
    );
  }
  if (compareVersions(version, API_VERSION_MIN) < 0) {
    throw new EngineError(
      "invalid-argument",
      `client version ${text} is too old. Minimum supported API version is ${formatVersion(API_VERSION_MIN)}, please upgrade your client to a newer version`,
    );
  }
  return { version, path: rest };
}

export function compareVersions(a: ApiVersion, b: ApiVersion): number {
  return a.major - b.major || a.minor - b.minor;
}
