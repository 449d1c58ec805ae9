/**
 * A repository of a registry over the distribution API (v2): manifests by tag or digest, blobs read
 * with resume, blobs and manifests written. Bytes are checked where they are read: a manifest asked
 * for by digest is that manifest; a blob's digest is checked by whoever stores it.
 */

import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { EngineError, isErrorCode } from "#base/error.ts";
import type { Clock } from "#base/ports.ts";
import type { AuthConfig } from "#wire/docker/images.ts";
import {
  ACCEPTED_MANIFESTS,
  type Descriptor,
  isDigest,
  isTag,
  MANIFEST_MAX_BYTES,
} from "#wire/oci.ts";
import { sleep } from "../async.ts";
import { Authorizer } from "./auth.ts";
import { type Endpoint, readCertificates } from "./endpoints.ts";
import { RegistryError, readRefusal } from "./errors.ts";
import {
  createTransport,
  type HttpRequest,
  type HttpResponse,
  type HttpTransport,
  readBody,
} from "./http.ts";

export interface RepositoryOptions {
  readonly endpoint: Endpoint;
  /** "library/busybox"; "" for the registry itself (login). */
  readonly path: string;
  readonly actions: "pull" | "pull,push";
  readonly auth?: AuthConfig | undefined;
  readonly certFolders: readonly string[];
  readonly clock: Clock;
  readonly userAgent: string;
}

export interface RemoteManifest {
  readonly digest: string;
  readonly mediaType: string;
  readonly size: number;
  readonly text: string;
}

const ATTEMPTS = 5;
const TAGS_MAX = 10_000;
const BACKOFF_MS = 250;

/** Opens a repository: `/v2/` answered, and the way to authorize is known. */
export async function openRepository(
  options: RepositoryOptions,
  signal?: AbortSignal,
): Promise<Repository> {
  const { endpoint, clock, auth } = options;
  const { host } = new URL(endpoint.base);
  const certificates = await readCertificates(host, options.certFolders);
  const transport = createTransport({
    verifyTls: endpoint.verifyTls,
    userAgent: options.userAgent,
    ...certificates,
  });
  // A mirror has accounts of its own; the registry's password is not for it.
  const authorizer = new Authorizer(transport, clock, endpoint.isMirror ? undefined : auth);
  const repository = new Repository(options, transport, authorizer);
  try {
    await repository.ping(signal);
    return repository;
  } catch (error) {
    transport.close();
    throw error;
  }
}

export class Repository {
  readonly endpoint: Endpoint;
  readonly path: string;
  readonly #base: string;
  readonly #transport: HttpTransport;
  readonly #authorizer: Authorizer;
  readonly #clock: Clock;
  readonly #scopes: readonly string[];

  constructor(options: RepositoryOptions, transport: HttpTransport, authorizer: Authorizer) {
    this.endpoint = options.endpoint;
    this.path = options.path;
    this.#base = options.endpoint.base;
    this.#transport = transport;
    this.#authorizer = authorizer;
    this.#clock = options.clock;
    this.#scopes = options.path === "" ? [] : [`repository:${options.path}:${options.actions}`];
  }

  close(): void {
    this.#transport.close();
  }

  /** Throws unless something that speaks the protocol answers. */
  async ping(signal?: AbortSignal): Promise<void> {
    const response = await this.#send({ method: "GET", url: `${this.#base}/v2/`, signal });
    if (response.status === 200) return void response.body.resume();
    if (response.status === 401) {
      response.body.resume();
      // With an answer to the challenge at hand every further request carries it.
      this.#authorizer.challenged(response, this.#scopes);
      return;
    }
    throw await readRefusal(response, "other");
  }

  /** Like `ping`, but credentials must be accepted. */
  async checkLogin(signal?: AbortSignal): Promise<void> {
    const response = await this.#authorized({
      method: "GET",
      url: `${this.#base}/v2/`,
      signal,
    });
    if (response.status !== 200) throw await readRefusal(response, "unauthorized");
    response.body.resume();
  }

  async manifest(tagOrDigest: string, signal?: AbortSignal): Promise<RemoteManifest> {
    const response = await this.#retrying(() =>
      this.#authorized({
        method: "GET",
        url: this.#url(`manifests/${tagOrDigest}`),
        headers: { Accept: ACCEPTED_MANIFESTS.join(", ") },
        signal,
      }),
    );
    if (response.status !== 200) throw await readRefusal(response, "manifest-unknown");
    const bytes = await readBody(response.body, MANIFEST_MAX_BYTES);
    const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    const wanted = isDigest(tagOrDigest) ? tagOrDigest : response.header("docker-content-digest");
    if (wanted !== undefined && isDigest(wanted) && wanted !== digest) {
      throw new EngineError(
        "data-loss",
        `manifest verification failed for digest ${wanted}: the registry sent ${digest}`,
      );
    }
    const mediaType = (response.header("content-type") ?? "").split(";")[0]?.trim() ?? "";
    return { digest, mediaType, size: bytes.length, text: bytes.toString("utf8") };
  }

  /** Every tag, following the registry's pages. */
  async tags(signal?: AbortSignal): Promise<readonly string[]> {
    const found: string[] = [];
    let url: string | undefined = this.#url("tags/list");
    while (url !== undefined && found.length < TAGS_MAX) {
      const page: HttpResponse = await this.#authorized({ method: "GET", url, signal });
      if (page.status !== 200) throw await readRefusal(page, "name-unknown");
      const body = await readBody(page.body, MANIFEST_MAX_BYTES);
      const { tags } = JSON.parse(body.toString("utf8")) as { tags?: unknown };
      if (Array.isArray(tags)) found.push(...tags.filter((tag) => typeof tag === "string"));
      const next: string | undefined = /<([^>]+)>\s*;\s*rel="?next"?/.exec(
        page.header("link") ?? "",
      )?.[1];
      url = next === undefined ? undefined : new URL(next, page.url).href;
    }
    return found.filter(isTag);
  }

  /** The bytes from `offset` to the end; a broken connection is taken up where it broke. */
  async *blob(
    descriptor: Descriptor,
    offset = 0,
    signal?: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    let position = offset;
    for (let failures = 0; position < descriptor.size || descriptor.size === 0; ) {
      try {
        for await (const chunk of await this.#blobFrom(descriptor, position, signal)) {
          position += chunk.length;
          failures = 0;
          yield chunk;
        }
        if (position >= descriptor.size) return;
        throw new EngineError("unavailable", `the registry ended ${descriptor.digest} early`);
      } catch (error) {
        failures += 1;
        if (signal?.aborted === true || !isTransient(error) || failures >= ATTEMPTS) throw error;
        await sleep(this.#clock, BACKOFF_MS * 2 ** failures, signal);
      }
    }
  }

  async #blobFrom(
    descriptor: Descriptor,
    position: number,
    signal: AbortSignal | undefined,
  ): Promise<AsyncIterable<Uint8Array>> {
    const response = await this.#authorized({
      method: "GET",
      url: this.#url(`blobs/${descriptor.digest}`),
      headers: position === 0 ? {} : { Range: `bytes=${position}-` },
      signal,
    });
    if (response.status === 206) return transient(response.body);
    if (response.status === 200) {
      checkLength(descriptor, response);
      return transient(skipBytes(response.body, position));
    }
    throw await readRefusal(response, "blob-unknown");
  }

  async hasBlob(digest: string, signal?: AbortSignal): Promise<boolean> {
    const url = this.#url(`blobs/${digest}`);
    const response = await this.#retrying(() => this.#authorized({ method: "HEAD", url, signal }));
    response.body.resume();
    if (response.status === 200) return true;
    if (response.status === 404) return false;
    throw await readRefusal(response, "other");
  }

  /** Takes the blob over from another repository of the same registry; false = must be uploaded. */
  async mountBlob(digest: string, from: string, signal?: AbortSignal): Promise<boolean> {
    const query = new URLSearchParams({ mount: digest, from });
    const response = await this.#authorized(
      { method: "POST", url: this.#url(`blobs/uploads/?${query.toString()}`), signal },
      [...this.#scopes, `repository:${from}:pull`],
    );
    response.body.resume();
    if (response.status === 202) await this.#cancelUpload(response);
    return response.status === 201;
  }

  async uploadBlob(
    descriptor: Pick<Descriptor, "digest" | "size">,
    source: () => AsyncIterable<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<void> {
    await this.#retrying(async () => {
      const started = await this.#authorized({
        method: "POST",
        url: this.#url("blobs/uploads/"),
        signal,
      });
      if (started.status !== 202) throw await readRefusal(started, "name-unknown");
      started.body.resume();
      const patched = await this.#authorized({
        method: "PATCH",
        url: locationOf(started),
        headers: {
          "Content-Type": "application/octet-stream",
          "Content-Length": String(descriptor.size),
        },
        body: Readable.from(source(), { objectMode: false }),
        signal,
      });
      if (patched.status !== 202 && patched.status !== 204) {
        throw await readRefusal(patched, "other");
      }
      patched.body.resume();
      const target = new URL(locationOf(patched));
      target.searchParams.set("digest", descriptor.digest);
      const done = await this.#authorized({ method: "PUT", url: target.href, signal });
      if (done.status !== 201 && done.status !== 204) throw await readRefusal(done, "other");
      done.body.resume();
      return done;
    });
  }

  async putManifest(
    tagOrDigest: string,
    mediaType: string,
    text: string,
    signal?: AbortSignal,
  ): Promise<void> {
    const response = await this.#retrying(() =>
      this.#authorized({
        method: "PUT",
        url: this.#url(`manifests/${tagOrDigest}`),
        headers: { "Content-Type": mediaType },
        body: text,
        signal,
      }),
    );
    if (response.status !== 201) throw await readRefusal(response, "name-unknown");
    response.body.resume();
  }

  #url(rest: string): string {
    return `${this.#base}/v2/${this.path}/${rest}`;
  }

  /** An upload that nobody will finish; the registry would expire it by itself. */
  async #cancelUpload(response: HttpResponse): Promise<void> {
    if (response.header("location") === undefined) return;
    const url = locationOf(response);
    const gone = await this.#authorized({ method: "DELETE", url }).catch(() => undefined);
    gone?.body.resume();
  }

  /** Sends with what authorization is known, and once more when the registry asks for it. */
  async #authorized(
    request: HttpRequest,
    scopes: readonly string[] = this.#scopes,
  ): Promise<HttpResponse> {
    const response = await this.#send(request, scopes);
    if (response.status !== 401) return response;
    if (!this.#authorizer.challenged(response, scopes)) {
      if ((response.header("www-authenticate") ?? "").toLowerCase().startsWith("basic")) {
        response.body.resume();
        throw new RegistryError(
          "unauthorized",
          `${quoteRequest(request)}: no basic auth credentials`,
        );
      }
      return response;
    }
    if (request.body instanceof Readable) {
      throw new EngineError("aborted", "the registry's authorization ran out during an upload");
    }
    response.body.resume();
    return this.#send(request, scopes);
  }

  async #send(request: HttpRequest, scopes = this.#scopes): Promise<HttpResponse> {
    const authorization = await this.#authorizer.header(scopes);
    const headers =
      authorization === undefined
        ? { ...request.headers }
        : { ...request.headers, Authorization: authorization };
    return this.#transport.send({ ...request, headers });
  }

  async #retrying(attempt: () => Promise<HttpResponse>): Promise<HttpResponse> {
    for (let failures = 1; ; failures += 1) {
      try {
        const response = await attempt();
        if (response.status < 500 && response.status !== 429) return response;
        if (failures >= ATTEMPTS) return response;
        response.body.resume();
      } catch (error) {
        if (!isTransient(error) || failures >= ATTEMPTS) throw error;
      }
      await sleep(this.#clock, BACKOFF_MS * 2 ** failures);
    }
  }
}

function checkLength(descriptor: Descriptor, response: HttpResponse): void {
  const length = Number(response.header("content-length") ?? descriptor.size);
  if (length === descriptor.size) return;
  response.body.destroy();
  throw new EngineError(
    "data-loss",
    `${descriptor.digest} at the registry has ${length} bytes, the manifest says ${descriptor.size}`,
  );
}

function locationOf(response: HttpResponse): string {
  const location = response.header("location");
  if (location === undefined) {
    throw new EngineError("unavailable", "the registry gave no place to upload to");
  }
  return new URL(location, response.url).href;
}

function quoteRequest(request: HttpRequest): string {
  const verb = request.method.charAt(0) + request.method.slice(1).toLowerCase();
  return `${verb} "${request.url}"`;
}

function isTransient(error: unknown): boolean {
  if (error instanceof RegistryError) return error.retryable;
  return isErrorCode(error, "unavailable", "aborted");
}

/** Errors of a body that breaks are the connection's, so they may be tried again. */
async function* transient(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (error) {
    if (error instanceof Error && error.name === "AbortError") throw error;
    throw EngineError.from(error, "unavailable");
  }
}

/** For a registry that ignores Range. */
async function* skipBytes(body: Readable, count: number): AsyncGenerator<Uint8Array> {
  let left = count;
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    const skipped = Math.min(left, chunk.length);
    left -= skipped;
    if (skipped < chunk.length) yield chunk.subarray(skipped);
  }
}
