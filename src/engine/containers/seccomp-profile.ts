/**
 * Seccomp profiles in docker's own format (what `--security-opt seccomp=FILE` holds), and what they
 * come to on one machine for one container: rules that hold only for some architectures, kernels or
 * capabilities are kept or dropped, and the rest is the runtime's filter. Pure.
 */

import { EngineError, messageOf } from "#base/error.ts";
import type { OciSeccomp } from "./oci-spec.ts";

type SyscallRule = NonNullable<OciSeccomp["syscalls"]>[number];

/** A condition on machine and container; parts that are absent hold. */
export interface SeccompFilter {
  /** All of them, in `includes`; any of them, in `excludes`. */
  readonly caps?: readonly string[] | null;
  /** Go's names: "amd64", "arm64". Any of them. */
  readonly arches?: readonly string[] | null;
  /** "4.8": this version of the kernel or a newer one. */
  readonly minKernel?: string;
}

export interface ProfileRule {
  readonly names?: readonly string[] | null;
  /** The old form, one name to a rule. */
  readonly name?: string;
  readonly action: string;
  readonly errnoRet?: number | null;
  readonly args?: SyscallRule["args"] | null;
  readonly includes?: SeccompFilter | null;
  readonly excludes?: SeccompFilter | null;
}

export interface SeccompProfile {
  readonly defaultAction?: string;
  readonly defaultErrnoRet?: number | null;
  readonly architectures?: readonly string[] | null;
  /** The filter's architecture, and those that the same kernel also runs programs of. */
  readonly archMap?:
    | readonly {
        readonly architecture: string;
        readonly subArchitectures?: readonly string[] | null;
      }[]
    | null;
  readonly flags?: readonly string[] | null;
  readonly listenerPath?: string;
  readonly listenerMetadata?: string;
  readonly syscalls?: readonly ProfileRule[] | null;
}

export interface SeccompSubject {
  /** Go's name of the machine's architecture. */
  readonly arch: string;
  /** "6.1.0-13-amd64". */
  readonly kernelRelease: string;
  /** The container's bounding set. */
  readonly capabilities: readonly string[];
}

/** libseccomp's name for each of Go's. */
const NATIVE: Readonly<Record<string, string>> = {
  amd64: "SCMP_ARCH_X86_64",
  "386": "SCMP_ARCH_X86",
  arm64: "SCMP_ARCH_AARCH64",
  arm: "SCMP_ARCH_ARM",
  loong64: "SCMP_ARCH_LOONGARCH64",
  mips64: "SCMP_ARCH_MIPS64",
  mips64le: "SCMP_ARCH_MIPSEL64",
  ppc64le: "SCMP_ARCH_PPC64LE",
  riscv64: "SCMP_ARCH_RISCV64",
  s390x: "SCMP_ARCH_S390X",
};

/** The text of a user's profile; refused with docker's words when it is none. */
export function parseSeccompProfile(text: string): SeccompProfile {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw refuse(`Decoding seccomp profile failed: ${messageOf(error)}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw refuse("Decoding seccomp profile failed: it must hold a JSON object");
  }
  const profile = value as SeccompProfile;
  for (const rule of profile.syscalls ?? []) {
    if (rule.name && (rule.names ?? []).length > 0) {
      throw refuse(
        "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'",
      );
    }
  }
  if ((profile.architectures ?? []).length > 0 && (profile.archMap ?? []).length > 0) {
    throw refuse(
      "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'",
    );
  }
  return profile;
}

/** Undefined when the profile says nothing at all, which means no filter. */
export function resolveSeccomp(
  profile: SeccompProfile,
  subject: SeccompSubject,
): OciSeccomp | undefined {
  const rules = profile.syscalls ?? [];
  if (!profile.defaultAction && rules.length === 0) return undefined;
  return {
    defaultAction: profile.defaultAction ?? "",
    ...given("defaultErrnoRet", profile.defaultErrnoRet),
    architectures: architecturesOf(profile, subject),
    ...given("flags", profile.flags),
    ...given("listenerPath", profile.listenerPath),
    ...given("listenerMetadata", profile.listenerMetadata),
    syscalls: rules.filter((rule) => applies(rule, subject)).map(toOci),
  };
}

function architecturesOf(profile: SeccompProfile, { arch }: SeccompSubject): readonly string[] {
  const listed = profile.architectures ?? [];
  if (listed.length > 0) return listed;
  const native = NATIVE[arch];
  const entry = (profile.archMap ?? []).find(({ architecture }) => architecture === native);
  return entry === undefined ? [] : [entry.architecture, ...(entry.subArchitectures ?? [])];
}

function applies({ includes, excludes }: ProfileRule, subject: SeccompSubject): boolean {
  const { arch, capabilities, kernelRelease } = subject;
  const hasCap = (name: string) => capabilities.includes(name);
  const reached = (version: string) => atLeast(kernelRelease, version);
  if (excludes?.arches?.includes(arch) || excludes?.caps?.some(hasCap)) return false;
  if (excludes?.minKernel && reached(excludes.minKernel)) return false;
  const arches = includes?.arches ?? [];
  if (arches.length > 0 && !arches.includes(arch)) return false;
  if (!(includes?.caps ?? []).every(hasCap)) return false;
  return !includes?.minKernel || reached(includes.minKernel);
}

function atLeast(release: string, version: string): boolean {
  const numbers = (text: string) => /^(\d+)\.(\d+)/.exec(text)?.slice(1).map(Number) ?? [0, 0];
  const [major = 0, minor = 0] = numbers(release);
  const [wantedMajor = 0, wantedMinor = 0] = numbers(version);
  return major === wantedMajor ? minor >= wantedMinor : major > wantedMajor;
}

function toOci(rule: ProfileRule): SyscallRule {
  const { name, names, action, errnoRet, args } = rule;
  return {
    names: name ? [name] : (names ?? []),
    action,
    ...given("errnoRet", errnoRet),
    ...given("args", args),
  };
}

function given<K extends string, V>(key: K, value: V | null | undefined | ""): { [P in K]?: V } {
  if (value === undefined || value === null || value === "") return {};
  if (Array.isArray(value) && value.length === 0) return {};
  return { [key]: value } as { [P in K]?: V };
}

function refuse(message: string): EngineError {
  return new EngineError("invalid-argument", message);
}
