/**
 * Searching a registry by words: `/v1/search`, all that is left of the protocol's first version. The
 * Docker Hub has it, and few others; where it is missing that is said.
 */

import { EngineError } from "#base/error.ts";
import type { AuthConfig } from "#wire/docker/images.ts";
import { DEFAULT_DOMAIN } from "#wire/oci.ts";
import { basicHeader } from "./auth.ts";
import { endpointsOf, type RegistryConfig, readCertificates } from "./endpoints.ts";
import { createTransport, readBody } from "./http.ts";

export interface SearchHit {
  readonly name: string;
  readonly description: string;
  readonly star_count: number;
  readonly is_official: boolean;
  readonly is_automated: boolean;
}

export interface SearchOptions {
  readonly config: RegistryConfig;
  readonly userAgent: string;
  readonly auth: AuthConfig | undefined;
  readonly signal: AbortSignal | undefined;
}

const HUB_INDEX = "https://index.docker.io";
const ANSWER_MAX_BYTES = 4 * 1024 * 1024;

/** "HOST/words" asks that registry, everything else the Docker Hub. */
export async function searchRegistry(
  term: string,
  limit: number,
  options: SearchOptions,
): Promise<readonly SearchHit[]> {
  const { domain, words } = splitTerm(term);
  let failure: unknown;
  for (const { base, verifyTls } of indexesOf(domain, options.config)) {
    try {
      const url = new URL(`${base}/v1/search`);
      url.searchParams.set("q", words);
      url.searchParams.set("n", String(limit));
      return await ask(url, verifyTls, options);
    } catch (error) {
      if (!(error instanceof EngineError) || error.code !== "unavailable") throw error;
      failure = error;
    }
  }
  throw failure;
}

export function splitTerm(term: string): { readonly domain: string; readonly words: string } {
  const slash = term.indexOf("/");
  const first = term.slice(0, Math.max(0, slash));
  const isHost = /[.:]/.test(first) || first === "localhost";
  const domain = isHost ? first : DEFAULT_DOMAIN;
  const rest = isHost ? term.slice(slash + 1) : term;
  const isHub = [DEFAULT_DOMAIN, "index.docker.io"].includes(domain);
  return isHub
    ? { domain: DEFAULT_DOMAIN, words: rest.replace(/^library\//, "") }
    : { domain, words: rest };
}

function indexesOf(domain: string, config: RegistryConfig) {
  if (domain === DEFAULT_DOMAIN) return [{ base: HUB_INDEX, verifyTls: true }];
  return endpointsOf(domain, config, "push");
}

async function ask(
  url: URL,
  verifyTls: boolean,
  { config, userAgent, auth, signal }: SearchOptions,
): Promise<readonly SearchHit[]> {
  const certificates = await readCertificates(url.host, config.certFolders);
  const transport = createTransport({ verifyTls, userAgent, ...certificates });
  try {
    const authorization = basicHeader(auth);
    const headers: Record<string, string> = { "X-Docker-Token": "true" };
    if (authorization !== undefined) headers["Authorization"] = authorization;
    const response = await transport.send({ method: "GET", url: url.href, headers, signal });
    const body = (await readBody(response.body, ANSWER_MAX_BYTES)).toString("utf8");
    if (response.status === 200) return parseHits(body, url.host);
    throw refusal(url.host, response.status);
  } finally {
    transport.close();
  }
}

function refusal(host: string, status: number): EngineError {
  if (status === 401 || status === 403) {
    return new EngineError("unauthenticated", `${host} refuses to be searched: log in to it first`);
  }
  if (status === 404 || status === 405) {
    return new EngineError(
      "unimplemented",
      `${host} offers no search: look at its web page or its catalog, and pull by name`,
    );
  }
  return new EngineError("internal", `Unexpected status code ${status}`);
}

export function parseHits(text: string, host: string): readonly SearchHit[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  const results = (value as { readonly results?: unknown } | null | undefined)?.results ?? [];
  if (value === undefined || !Array.isArray(results)) {
    throw new EngineError("unimplemented", `${host} answers a search with something else`);
  }
  return results.flatMap((item: unknown) => {
    const fields = (item ?? {}) as Readonly<Record<string, unknown>>;
    if (typeof fields["name"] !== "string") return [];
    return [
      {
        name: fields["name"],
        description: typeof fields["description"] === "string" ? fields["description"] : "",
        star_count: Number(fields["star_count"] ?? 0) || 0,
        is_official: fields["is_official"] === true,
        is_automated: fields["is_automated"] === true,
      },
    ];
  });
}
