/**
 * Image references as docker reads and prints them: "busybox" means docker.io/library/busybox, and
 * is printed as "busybox" again. Nothing is looked up; an image id is not a reference.
 */

import { err, ok, type Result } from "#base/result.ts";

export interface Reference {
  /** "docker.io", "localhost:5000". */
  readonly domain: string;
  /** Repository on that host: "library/busybox". */
  readonly path: string;
  readonly tag: string | undefined;
  /** "sha256:…". */
  readonly digest: string | undefined;
}

export const DEFAULT_DOMAIN = "docker.io";
const LEGACY_DOMAIN = "index.docker.io";
const OFFICIAL_PREFIX = "library/";
const NAME_MAX_CHARACTERS = 255;

const DOMAIN_PART = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
const DOMAIN = new RegExp(
  `^(?:${DOMAIN_PART}(?:\\.${DOMAIN_PART})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`,
);
const PATH_PART = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const PATH = new RegExp(`^${PATH_PART}(?:/${PATH_PART})*$`);
const TAG = /^\w[\w.-]{0,127}$/;
const DIGEST = /^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$/;
const SHA256_DIGEST = /^sha256:[0-9a-f]{64}$/;
const IDENTIFIER = /^[a-f0-9]{64}$/;

/** The only digests that content is named by here. */
export function isDigest(text: string): boolean {
  return SHA256_DIGEST.test(text);
}

export function isTag(text: string): boolean {
  return TAG.test(text);
}

/** Reads what a user wrote; the errors are docker's. */
export function parseReference(text: string): Result<Reference> {
  if (IDENTIFIER.test(text)) {
    return err(`invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`);
  }
  const { domain, rest } = splitDomain(text);
  const { name, tag, digest } = splitSuffixes(rest);
  const path =
    domain === DEFAULT_DOMAIN && !name.includes("/") ? `${OFFICIAL_PREFIX}${name}` : name;
  if (path.toLowerCase() !== path) {
    return err(`invalid reference format: repository name (${path}) must be lowercase`);
  }
  const valid =
    DOMAIN.test(domain) &&
    PATH.test(path) &&
    (tag === undefined || TAG.test(tag)) &&
    (digest === undefined || DIGEST.test(digest));
  if (!valid) return err("invalid reference format");
  if (digest !== undefined && !SHA256_DIGEST.test(digest)) {
    return err("invalid reference format: unsupported digest algorithm");
  }
  if (`${domain}/${path}`.length > NAME_MAX_CHARACTERS) {
    return err(`repository name must not be more than ${NAME_MAX_CHARACTERS} characters`);
  }
  return ok({ domain, path, tag, digest });
}

/** The first part names a host only when it cannot be a docker.io namespace. */
function splitDomain(text: string): { domain: string; rest: string } {
  const slash = text.indexOf("/");
  const first = text.slice(0, Math.max(slash, 0));
  const isHost =
    slash !== -1 && (/[.:]/.test(first) || first === "localhost" || first.toLowerCase() !== first);
  if (!isHost) return { domain: DEFAULT_DOMAIN, rest: text };
  const rest = text.slice(slash + 1);
  return { domain: first === LEGACY_DOMAIN ? DEFAULT_DOMAIN : first, rest };
}

function splitSuffixes(rest: string) {
  const at = rest.indexOf("@");
  const digest = at === -1 ? undefined : rest.slice(at + 1);
  const tagged = at === -1 ? rest : rest.slice(0, at);
  const colon = tagged.indexOf(":");
  const tag = colon === -1 ? undefined : tagged.slice(colon + 1);
  return { name: colon === -1 ? tagged : tagged.slice(0, colon), tag, digest };
}

/** With the tag "latest" when there is neither tag nor digest. */
export function withDefaultTag(reference: Reference): Reference {
  return reference.tag === undefined && reference.digest === undefined
    ? { ...reference, tag: "latest" }
    : reference;
}

/** "docker.io/library/busybox": the repository in full. */
export function repositoryOf(reference: Reference): string {
  return `${reference.domain}/${reference.path}`;
}

/** "busybox": the repository as docker prints it. */
export function familiarName(reference: Pick<Reference, "domain" | "path">): string {
  if (reference.domain !== DEFAULT_DOMAIN) return `${reference.domain}/${reference.path}`;
  const short = reference.path.startsWith(OFFICIAL_PREFIX)
    ? reference.path.slice(OFFICIAL_PREFIX.length)
    : reference.path;
  // "library/a/b" would read as another repository when shortened.
  return short.includes("/") && short !== reference.path ? reference.path : short;
}

/** "busybox:1.36", "busybox@sha256:…": as docker prints it. */
export function familiarReference(reference: Reference): string {
  return familiarName(reference) + suffixOf(reference);
}

/** "docker.io/library/busybox:1.36": the same in full. */
export function canonicalReference(reference: Reference): string {
  return repositoryOf(reference) + suffixOf(reference);
}

function suffixOf({ tag, digest }: Reference): string {
  return (tag === undefined ? "" : `:${tag}`) + (digest === undefined ? "" : `@${digest}`);
}
