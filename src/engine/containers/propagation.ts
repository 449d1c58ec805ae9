/** Whether a bind can share mounts with the host the way it asks for; docker's messages. */

import { readFile, realpath } from "node:fs/promises";
import { EngineError } from "#base/error.ts";

/** Refuses a shared or slave bind of a folder on a mount that is private. */
export async function requirePropagation(source: string, propagation: string): Promise<void> {
  const wanted = propagation.replace(/^r/, "");
  if (wanted !== "shared" && wanted !== "slave") return;
  const path = await realpath(source).catch(() => source);
  const { mountPoint, shared, slave } = mountOf(
    path,
    await readFile("/proc/self/mountinfo", "utf8"),
  );
  if (shared || (wanted === "slave" && slave)) return;
  const kinds = wanted === "shared" ? "shared" : "shared or slave";
  throw new EngineError(
    "invalid-argument",
    `path ${source} is mounted on ${mountPoint} but it is not a ${kinds} mount`,
  );
}

interface MountFacts {
  readonly mountPoint: string;
  readonly shared: boolean;
  readonly slave: boolean;
}

/** The mount that a path lies on, from the text of mountinfo (proc(5)). */
export function mountOf(path: string, mountinfo: string): MountFacts {
  let found: MountFacts = { mountPoint: "/", shared: false, slave: false };
  for (const line of mountinfo.split("\n")) {
    const [, , , , escaped = "", , ...rest] = line.split(" ");
    if (escaped === "") continue;
    const mountPoint = escaped.replace(/\\(\d{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    const covers = mountPoint === "/" || path === mountPoint || path.startsWith(`${mountPoint}/`);
    // Later ones lie over earlier ones.
    if (!covers || mountPoint.length < found.mountPoint.length) continue;
    const optional = rest.slice(0, rest.indexOf("-"));
    found = {
      mountPoint,
      shared: optional.some((field) => field.startsWith("shared:")),
      slave: optional.some((field) => field.startsWith("master:")),
    };
  }
  return found;
}
