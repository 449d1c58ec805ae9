/**
 * A registry's authorization: the challenge of a 401 is answered with Basic credentials, or with a
 * token fetched from where the challenge says, cached per scope until shortly before it expires.
 */

import { EngineError } from "#base/error.ts";
import type { Clock } from "#base/ports.ts";
import type { AuthConfig } from "#wire/docker/images.ts";
import { type HttpResponse, type HttpTransport, readBody } from "./http.ts";

export interface Challenge {
  /** Lower case: "basic", "bearer". */
  readonly scheme: string;
  readonly parameters: Readonly<Record<string, string>>;
}

const TOKEN_ANSWER_MAX_BYTES = 1024 * 1024;
/** What registries mean when they give no lifetime. */
const DEFAULT_LIFETIME_SECONDS = 60;
const CLIENT_ID = "skep";

/** Reads WWW-Authenticate: one or more challenges with quoted or bare parameters. */
export function parseChallenges(header: string): readonly Challenge[] {
  const challenges: { scheme: string; parameters: Record<string, string> }[] = [];
  const token = /\s*,?\s*([^\s=,"]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*)))?/y;
  while (token.lastIndex < header.length) {
    const match = token.exec(header);
    if (match === null) break;
    const [, word = "", quoted, bare] = match;
    const value = quoted?.replace(/\\(.)/g, "$1") ?? bare;
    if (value === undefined) challenges.push({ scheme: word.toLowerCase(), parameters: {} });
    else {
      const current = challenges.at(-1);
      if (current !== undefined) current.parameters[word.toLowerCase()] = value;
    }
  }
  return challenges;
}

interface Token {
  readonly value: string;
  readonly expiresAtMs: number;
}

export class Authorizer {
  readonly #transport: HttpTransport;
  readonly #clock: Clock;
  readonly #auth: AuthConfig | undefined;
  readonly #tokens = new Map<string, Promise<Token>>();
  #challenge: Challenge | undefined;

  constructor(transport: HttpTransport, clock: Clock, auth: AuthConfig | undefined) {
    this.#transport = transport;
    this.#clock = clock;
    this.#auth = auth;
  }

  /** The Authorization header for a request of this scope; undefined when none is known to help. */
  async header(scopes: readonly string[]): Promise<string | undefined> {
    if (this.#auth?.registrytoken !== undefined) return `Bearer ${this.#auth.registrytoken}`;
    if (this.#challenge === undefined) return undefined;
    if (this.#challenge.scheme === "basic") return basicHeader(this.#auth);
    return `Bearer ${(await this.#token(scopes)).value}`;
  }

  /** Takes the challenge of a 401; false when there is nothing (more) to answer it with. */
  challenged(response: HttpResponse, scopes: readonly string[]): boolean {
    if (this.#auth?.registrytoken !== undefined) return false;
    const offered = parseChallenges(response.header("www-authenticate") ?? "");
    const chosen =
      offered.find(({ scheme }) => scheme === "bearer") ??
      offered.find(({ scheme }) => scheme === "basic");
    if (chosen === undefined) return false;
    if (chosen.scheme === "basic" && basicHeader(this.#auth) === undefined) return false;
    if (chosen.scheme === "bearer" && !/^https?:\/\//.test(chosen.parameters["realm"] ?? "")) {
      return false;
    }
    this.#challenge = chosen;
    this.#tokens.delete(scopes.join(" "));
    return true;
  }

  #token(scopes: readonly string[]): Promise<Token> {
    const key = scopes.join(" ");
    const cached = this.#tokens.get(key);
    const fetched = (async () => {
      const token = await cached?.catch(() => undefined);
      if (token !== undefined && this.#clock.nowMs() < token.expiresAtMs) return token;
      return this.#fetch(scopes);
    })();
    this.#tokens.set(key, fetched);
    // A failure is not remembered: the next request may ask again.
    fetched.catch(() => this.#tokens.get(key) === fetched && this.#tokens.delete(key));
    return fetched;
  }

  async #fetch(scopes: readonly string[]): Promise<Token> {
    const { realm = "", service = "" } = this.#challenge?.parameters ?? {};
    const response =
      this.#auth?.identitytoken === undefined || this.#auth.identitytoken === ""
        ? await this.#fetchByPassword(realm, service, scopes)
        : await this.#fetchByRefresh(realm, service, scopes, this.#auth.identitytoken);
    const body = await readBody(response.body, TOKEN_ANSWER_MAX_BYTES);
    if (response.status !== 200) throw tokenRefused(response.status, realm, body.toString("utf8"));
    const answer = parseAnswer(body.toString("utf8"));
    const value = answer.token ?? answer.access_token;
    if (typeof value !== "string" || value === "") {
      throw new EngineError("unavailable", `the token server ${realm} gave no token`);
    }
    const seconds = typeof answer.expires_in === "number" ? answer.expires_in : 0;
    const lifetimeMs = Math.max(seconds, DEFAULT_LIFETIME_SECONDS) * 1000;
    return { value, expiresAtMs: this.#clock.nowMs() + lifetimeMs * 0.9 };
  }

  #fetchByPassword(
    realm: string,
    service: string,
    scopes: readonly string[],
  ): Promise<HttpResponse> {
    const url = new URL(realm);
    if (service !== "") url.searchParams.set("service", service);
    for (const scope of scopes) url.searchParams.append("scope", scope);
    const basic = basicHeader(this.#auth);
    const user = credentialsOf(this.#auth)?.user;
    if (user !== undefined) url.searchParams.set("account", user);
    const headers = basic === undefined ? {} : { Authorization: basic };
    return this.#transport.send({ method: "GET", url: url.href, headers });
  }

  #fetchByRefresh(
    realm: string,
    service: string,
    scopes: readonly string[],
    refreshToken: string,
  ): Promise<HttpResponse> {
    const form = new URLSearchParams({
      grant_type: "refresh_token",
      refresh_token: refreshToken,
      service,
      client_id: CLIENT_ID,
      scope: scopes.join(" "),
    });
    return this.#transport.send({
      method: "POST",
      url: realm,
      headers: { "Content-Type": "application/x-www-form-urlencoded" },
      body: form.toString(),
    });
  }
}

interface TokenAnswer {
  readonly token?: unknown;
  readonly access_token?: unknown;
  readonly expires_in?: unknown;
}

function parseAnswer(text: string): TokenAnswer {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}

function tokenRefused(status: number, realm: string, body: string): EngineError {
  if (status === 401 || status === 403) {
    return new EngineError("unauthenticated", "incorrect username or password");
  }
  return new EngineError(
    "unavailable",
    `the token server ${realm} answered ${status}: ${body.slice(0, 200)}`,
  );
}

/** The user's name and password, from either form that clients send. */
export function credentialsOf(
  auth: AuthConfig | undefined,
): { readonly user: string; readonly password: string } | undefined {
  if (auth === undefined) return undefined;
  if (auth.username !== undefined && auth.username !== "") {
    return { user: auth.username, password: auth.password ?? "" };
  }
  const decoded = Buffer.from(auth.auth ?? "", "base64").toString("utf8");
  const colon = decoded.indexOf(":");
  if (colon < 1) return undefined;
  return { user: decoded.slice(0, colon), password: decoded.slice(colon + 1) };
}

export function basicHeader(auth: AuthConfig | undefined): string | undefined {
  const credentials = credentialsOf(auth);
  if (credentials === undefined) return undefined;
  const { user, password } = credentials;
  return `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
}
