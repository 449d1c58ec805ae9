/** The key of a swarm's backups, as people keep it: `SWMBACKUP-1-<base64 of 32 bytes>`. */

import { err, ok, type Result } from "#base/result.ts";
import { fromRawBase64, toRawBase64 } from "./base64.ts";

export const BACKUP_KEY_BYTES = 32;
const PREFIX = "SWMBACKUP-1-";

export function formatBackupKey(key: Uint8Array): string {
  return PREFIX + toRawBase64(key);
}

export function parseBackupKey(text: string): Result<Uint8Array> {
  const invalid = err("invalid backup key");
  if (!text.startsWith(PREFIX)) return invalid;
  const key = fromRawBase64(text.slice(PREFIX.length));
  return key.ok && key.value.length === BACKUP_KEY_BYTES ? ok(key.value) : invalid;
}
