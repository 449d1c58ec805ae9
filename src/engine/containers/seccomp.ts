/** Which system calls a container may make: the default list, the user's own, or all. Pure. */

import { EngineError } from "#base/error.ts";
import type { HostFacts } from "./host.ts";
import type { OciSeccomp } from "./oci-spec.ts";
import { DEFAULT_SECCOMP_PROFILE } from "./seccomp-default.ts";
import { parseSeccompProfile, resolveSeccomp } from "./seccomp-profile.ts";

export interface SeccompRequest {
  /** As `SecurityOptions.seccomp`. */
  readonly option: string | undefined;
  readonly privileged: boolean;
  /** What containers get that name nothing, unless they are privileged; as `option`. */
  readonly fallback: string;
  /** The bounding set. */
  readonly capabilities: readonly string[];
}

/** Undefined = no filter: unconfined, privileged without a profile of its own, or no such kernel. */
export function chooseSeccomp(request: SeccompRequest, host: HostFacts): OciSeccomp | undefined {
  const { privileged, capabilities } = request;
  const option = request.option ?? (privileged ? "unconfined" : request.fallback);
  if (option === "unconfined") return undefined;
  const builtin = option === "builtin";
  if (!host.seccomp) {
    if (builtin) return undefined;
    throw new EngineError(
      "invalid-argument",
      "seccomp is not enabled in your kernel, cannot run a custom seccomp profile",
    );
  }
  const profile = builtin ? DEFAULT_SECCOMP_PROFILE : parseSeccompProfile(option);
  return resolveSeccomp(profile, {
    arch: host.goArch,
    kernelRelease: host.kernelRelease,
    capabilities,
  });
}
