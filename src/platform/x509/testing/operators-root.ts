/** Roots that were not made here. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Authority } from "../issue.ts";

/** A root as an operator makes it; `key` is what `openssl req -newkey` takes. */
export function operatorsRoot(...key: readonly string[]): Authority {
  const folder = mkdtempSync(join(tmpdir(), "skep-root-"));
  try {
    const [keyFile, certFile] = [join(folder, "key"), join(folder, "cert")];
    const args = ["req", "-x509", "-nodes", "-days", "3650", "-subj", "/O=Example/CN=Example CA"];
    execFileSync("openssl", [...args, "-newkey", ...key, "-keyout", keyFile, "-out", certFile], {
      stdio: "ignore",
    });
    return { cert: readFileSync(certFile, "utf8"), key: readFileSync(keyFile, "utf8") };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
