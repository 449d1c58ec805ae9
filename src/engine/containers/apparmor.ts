/** Which AppArmor profile confines a container, where the kernel has AppArmor at all. */

import { readFile } from "node:fs/promises";
import { EngineError } from "#base/error.ts";
import type { HostFacts } from "./host.ts";

/** Loaded by Docker's and containerd's packages; used where it is there. */
const DEFAULT_PROFILE = "docker-default";
const LOADED = "/sys/kernel/security/apparmor/profiles";

/** `option` as `SecurityOptions.apparmor`; undefined = unconfined. */
export async function chooseApparmor(
  option: string | undefined,
  privileged: boolean,
  host: HostFacts,
): Promise<string | undefined> {
  if (!host.apparmor || option === "unconfined") return undefined;
  if (option === undefined && privileged) return undefined;
  const loaded = await readFile(LOADED, "utf8").catch(() => "");
  const names = new Set(loaded.split("\n").map((line) => line.replace(/ \([a-z]+\)$/, "")));
  const wanted = option ?? DEFAULT_PROFILE;
  if (names.has(wanted)) return wanted;
  if (option === undefined) return undefined;
  throw new EngineError(
    "invalid-argument",
    `AppArmor profile ${option} is not loaded: load it with apparmor_parser first`,
  );
}

/** What create says of a profile that the kernel cannot apply. */
export function apparmorWarnings(option: string | undefined, host: HostFacts): readonly string[] {
  if (host.apparmor || option === undefined || option === "unconfined") return [];
  return [`Your kernel does not support AppArmor. Profile ${option} discarded.`];
}
