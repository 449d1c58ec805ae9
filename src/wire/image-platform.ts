/**
 * Platforms of images: "linux/arm64/v8" read and normalised as docker does, and the choice of the
 * entry of an index that a host runs best.
 */

import { err, ok, type Result } from "#base/result.ts";
import type { Descriptor, Platform } from "./oci.ts";

const ARCHITECTURES: Readonly<Record<string, readonly [string, string]>> = {
  x86_64: ["amd64", ""],
  "x86-64": ["amd64", ""],
  i386: ["386", ""],
  i486: ["386", ""],
  i686: ["386", ""],
  aarch64: ["arm64", ""],
  armhf: ["arm", "v7"],
  armel: ["arm", "v6"],
};

/** Reads OS[/ARCH[/VARIANT]] or a bare architecture; what is left out is the host's. */
export function parsePlatform(text: string, host: Platform): Result<Platform> {
  const parts = text.toLowerCase().split("/");
  if (parts.length > 3 || !parts.every((part) => /^[a-z0-9_.-]+$/.test(part))) {
    return err(`"${text}" is an invalid OS or architecture: must match OS[/ARCH[/VARIANT]]`);
  }
  const [first = "", second, third] = parts;
  if (second === undefined) {
    const isOs = ["linux", "windows", "darwin", "freebsd"].includes(first);
    return ok(
      isOs ? { ...host, os: first } : normalizePlatform({ os: host.os, architecture: first }),
    );
  }
  const variant = third === undefined ? {} : { variant: third };
  return ok(normalizePlatform({ os: first, architecture: second, ...variant }));
}

export function normalizePlatform(platform: Platform): Platform {
  const known = ARCHITECTURES[platform.architecture];
  const architecture = known?.[0] ?? platform.architecture;
  const given = platform.variant ?? known?.[1] ?? "";
  const variant = normalizeVariant(architecture, given);
  return {
    os: platform.os === "macos" ? "darwin" : platform.os,
    architecture,
    ...(variant === "" ? {} : { variant }),
  };
}

function normalizeVariant(architecture: string, variant: string): string {
  const version = /^\d+$/.test(variant) ? `v${variant}` : variant;
  if (architecture === "arm64") return version === "v8" ? "" : version;
  if (architecture === "amd64") return version === "v1" ? "" : version;
  if (architecture === "arm") return version === "" ? "v7" : version;
  return version;
}

/** "linux/arm64/v8". */
export function formatPlatform(platform: Platform): string {
  const { os, architecture, variant } = platform;
  return [os, architecture, variant ?? ""].filter((part) => part !== "").join("/");
}

/** The best entry of an index, the first of equals; attestations and the like are not images. */
export function choosePlatform(
  manifests: readonly Descriptor[],
  wanted: Platform,
): Descriptor | undefined {
  let best: { readonly rank: number; readonly entry: Descriptor } | undefined;
  for (const entry of manifests) {
    if (entry.annotations?.["vnd.docker.reference.type"] !== undefined) continue;
    // An entry that does not say is taken when nothing better is there (single-image archives).
    const rank = entry.platform === undefined ? 100 : platformRank(entry.platform, wanted);
    if (rank !== undefined && (best === undefined || rank < best.rank)) best = { rank, entry };
  }
  return best?.entry;
}

/** Whether what is offered runs where `wanted` does. */
export function fitsPlatform(offered: Platform, wanted: Platform): boolean {
  return platformRank(offered, wanted) !== undefined;
}

/** 0 = exactly; larger = an older variant that runs too; undefined = does not run. */
function platformRank(offered: Platform, wanted: Platform): number | undefined {
  const [have, want] = [normalizePlatform(offered), normalizePlatform(wanted)];
  if (have.os !== want.os || have.architecture !== want.architecture) return undefined;
  const [haveVersion, wantVersion] = [variantVersion(have), variantVersion(want)];
  if (haveVersion === undefined || wantVersion === undefined) {
    return have.variant === want.variant ? 0 : undefined;
  }
  return haveVersion <= wantVersion ? wantVersion - haveVersion : undefined;
}

function variantVersion(platform: Platform): number | undefined {
  const base = platform.architecture === "arm64" ? "v8" : "v1";
  const match = /^v(\d+)$/.exec(platform.variant ?? base);
  return match === null ? undefined : Number(match[1]);
}
