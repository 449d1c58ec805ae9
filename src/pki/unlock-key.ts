/** The key that opens a locked manager, as people write it down: `SWMKEY-1-<base64 of 32 bytes>`. */

import { err, ok, type Result } from "#base/result.ts";
import { fromRawBase64, toRawBase64 } from "./base64.ts";

export const UNLOCK_KEY_BYTES = 32;
const PREFIX = "SWMKEY-1-";

export function formatUnlockKey(key: Uint8Array): string {
  return PREFIX + toRawBase64(key);
}

export function parseUnlockKey(text: string): Result<Uint8Array> {
  if (!text.startsWith(PREFIX)) return err("invalid key string");
  const key = fromRawBase64(text.slice(PREFIX.length));
  if (!key.ok || key.value.length !== UNLOCK_KEY_BYTES) return err("invalid key string");
  return ok(key.value);
}
