/** The program's version, set by the build; a run from source says so. */

declare const SKEP_VERSION: string | undefined;
declare const SKEP_COMMIT: string | undefined;

export const VERSION = typeof SKEP_VERSION === "string" ? SKEP_VERSION : "0.0.0-source";
export const COMMIT = typeof SKEP_COMMIT === "string" ? SKEP_COMMIT : "source";
