/** Which system calls a container may make: the default list, the user's own, or all. */

import { EngineError, messageOf } from "#base/error.ts";
import type { HostConfig } from "#wire/docker/containers.ts";
import type { OciSeccomp } from "./oci-spec.ts";

/** Undefined = no filter: unconfined, or privileged. */
export async function chooseSeccomp(hostConfig: HostConfig): Promise<OciSeccomp | undefined> {
  const option = (hostConfig.SecurityOpt ?? []).find((text) => /^seccomp[=:]/.test(text));
  const profile = option?.slice("seccomp=".length);
  if (profile === "unconfined" || hostConfig.Privileged) return undefined;
  if (profile === undefined || profile === "builtin") return undefined;
  // The client sends the profile's text, not its path.
  try {
    return JSON.parse(profile) as OciSeccomp;
  } catch (error) {
    throw new EngineError(
      "invalid-argument",
      `Decoding seccomp profile failed: ${messageOf(error)}`,
    );
  }
}
