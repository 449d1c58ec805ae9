/**
 * The registry that one build talks to: the distribution protocol on a port of the loopback, under
 * a path that nobody else knows, as long as the build lasts. Base images are read from our own store,
 * and pulled into it first, with the client's credentials, when they are not there; the finished
 * image is pushed back into it. So the builder needs to know nothing of registries, and no layer
 * that the store has is sent twice.
 *
 * Refused: everything else of the protocol (catalogues, deletes, mounts, ranges).
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream/promises";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import { newHexId } from "#base/ids.ts";
import type { Random } from "#base/ports.ts";
import { MANIFEST_MAX_BYTES, parseManifest } from "#wire/oci.ts";
import type { ImageExchange, ServedManifest } from "../images/exchange.ts";

export interface EndpointPorts {
  readonly exchange: ImageExchange;
  /** Registries that images are named by. */
  readonly hosts: readonly string[];
  /** The manifest of a base image, pulled first if need be; the error is what the user shall read. */
  readonly resolve: (host: string, path: string, wanted: string) => Promise<ServedManifest>;
  readonly random: Random;
}

export interface PushedImage {
  readonly configText: string;
  readonly layers: readonly string[];
}

export interface BuildEndpoint {
  /** "127.0.0.1:PORT/SECRET/hN": where the images of a registry are, in the order of `hosts`. */
  readonly locations: readonly string[];
  /** Where the finished image is pushed to. */
  readonly target: string;
  /** Why a base image could not be had; the newest. */
  failure(): EngineError | undefined;
  pushed(): PushedImage | undefined;
  close(): Promise<void>;
}

const SECRET_BYTES = 16;
const RESULT = "result";
const UPLOADS_MAX = 4096;

export async function openBuildEndpoint(ports: EndpointPorts): Promise<BuildEndpoint> {
  const secret = newHexId(ports.random, SECRET_BYTES);
  const state = new Endpoint(ports, secret);
  const server = createServer((request, response) => void state.handle(request, response));
  // A layer of a slow disk takes what it takes.
  server.requestTimeout = 0;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  const location = `127.0.0.1:${port}/${secret}`;
  return {
    locations: ports.hosts.map((_, index) => `${location}/h${index}`),
    target: `${location}/${RESULT}:latest`,
    failure: () => state.failure,
    pushed: () => state.pushed,
    close: () => closeServer(server),
  };
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

class Endpoint {
  readonly #ports: EndpointPorts;
  readonly #prefix: string;
  readonly #manifests = new Map<string, ServedManifest>();
  /** Digest of a finished upload by its number; undefined = under way. */
  readonly #uploads = new Map<string, string | undefined>();
  failure: EngineError | undefined;
  pushed: PushedImage | undefined;

  constructor(ports: EndpointPorts, secret: string) {
    this.#ports = ports;
    this.#prefix = `/v2/${secret}/`;
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on("error", () => undefined);
    try {
      await this.#route(request, response);
    } catch (error) {
      const failure = EngineError.from(error, "internal");
      if (response.headersSent) response.destroy();
      else refuse(response, isErrorCode(failure, "not-found") ? 404 : 500, messageOf(failure));
    }
    if (!request.readableEnded) request.resume();
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://build");
    if (pathname === "/v2/" || pathname === "/v2") return json(response, 200, {});
    if (!pathname.startsWith(this.#prefix)) return refuse(response, 404, "no such repository");
    const path = pathname.slice(this.#prefix.length);
    const found = /^(.+)\/(manifests|blobs)\/(uploads\/)?([^/]*)$/.exec(path);
    if (found === null) return refuse(response, 404, "page not found");
    const [, repository = "", kind, uploads, name = ""] = found;
    const reads = request.method === "GET" || request.method === "HEAD";
    if (kind === "manifests" && reads) return this.#manifest(request, response, repository, name);
    if (kind === "blobs" && uploads === undefined && reads) {
      return this.#blob(request, response, name);
    }
    if (repository !== RESULT) return refuse(response, 405, "only images can be read here");
    if (kind === "manifests") return this.#pushManifest(request, response);
    return this.#upload(request, response, name, searchParams.get("digest"));
  }

  async #manifest(
    request: IncomingMessage,
    response: ServerResponse,
    repository: string,
    wanted: string,
  ): Promise<void> {
    const found = await this.#find(repository, wanted).catch((error: unknown) => {
      this.failure = EngineError.from(error);
      throw error;
    });
    response.writeHead(200, {
      "Content-Type": found.mediaType,
      "Content-Length": found.bytes.length,
      "Docker-Content-Digest": found.digest,
    });
    response.end(request.method === "HEAD" ? undefined : found.bytes);
  }

  /** One answer per name for the whole build: all its stages see the same image. */
  async #find(repository: string, wanted: string): Promise<ServedManifest> {
    const key = `${repository}@${wanted}`;
    const known = this.#manifests.get(key);
    if (known !== undefined) return known;
    const slash = repository.indexOf("/");
    const host = this.#ports.hosts[Number(/^h(\d+)$/.exec(repository.slice(0, slash))?.[1])];
    if (host === undefined) throw new EngineError("not-found", "no such repository");
    const found = await this.#ports.resolve(host, repository.slice(slash + 1), wanted);
    this.#manifests.set(key, found);
    return found;
  }

  async #blob(request: IncomingMessage, response: ServerResponse, digest: string): Promise<void> {
    const found = await this.#ports.exchange.blob(digest);
    if (found === undefined) return refuse(response, 404, `blob ${digest} is not in the store`);
    response.writeHead(200, {
      "Content-Type": "application/octet-stream",
      "Content-Length": found.size,
      "Docker-Content-Digest": digest,
    });
    if (request.method === "HEAD") response.end();
    else await pipeline(this.#ports.exchange.read(found.digest), response);
  }

  /** POST asks for a place, PATCH sends the bytes, PUT says what they were. */
  async #upload(
    request: IncomingMessage,
    response: ServerResponse,
    place: string,
    digest: string | null,
  ): Promise<void> {
    if (request.method === "POST") {
      if (this.#uploads.size >= UPLOADS_MAX) return refuse(response, 429, "too many uploads");
      const fresh = String(this.#uploads.size + 1);
      this.#uploads.set(fresh, undefined);
      return this.#place(response, fresh, 202);
    }
    if (!this.#uploads.has(place)) return refuse(response, 404, "no such upload");
    if (request.method === "PATCH") {
      const written = await this.#ports.exchange.write(request as AsyncIterable<Uint8Array>);
      this.#uploads.set(place, written.digest);
      return this.#place(response, place, 202, written.size);
    }
    if (request.method !== "PUT") return refuse(response, 405, "not a way to upload");
    if (this.#uploads.get(place) !== digest)
      return refuse(response, 400, "another digest was sent");
    response.writeHead(201, { Location: `${this.#prefix}${RESULT}/blobs/${digest}` }).end();
  }

  #place(response: ServerResponse, place: string, status: number, size = 0): void {
    response.writeHead(status, {
      Location: `${this.#prefix}${RESULT}/blobs/uploads/${place}`,
      Range: `0-${Math.max(0, size - 1)}`,
      "Docker-Upload-UUID": place,
      "Content-Length": 0,
    });
    response.end();
  }

  async #pushManifest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > MANIFEST_MAX_BYTES) return refuse(response, 413, "the manifest is too large");
      chunks.push(chunk);
    }
    const text = Buffer.concat(chunks).toString("utf8");
    const parsed = parseManifest(text, request.headers["content-type"] ?? "");
    if (!parsed.ok || parsed.value.kind !== "manifest") {
      return refuse(response, 400, parsed.ok ? "an index is no image" : parsed.error);
    }
    const { config, layers } = parsed.value;
    const blob = await this.#ports.exchange.blob(config.digest);
    if (blob === undefined) return refuse(response, 400, "the config was not pushed before");
    const parts: Uint8Array[] = [];
    if (blob.size > MANIFEST_MAX_BYTES) return refuse(response, 413, "the config is too large");
    for await (const part of this.#ports.exchange.read(blob.digest)) parts.push(part);
    this.pushed = {
      configText: Buffer.concat(parts).toString("utf8"),
      layers: layers.map((layer) => layer.digest),
    };
    response.writeHead(201, { Location: `${this.#prefix}${RESULT}/manifests/latest` }).end();
  }
}

function json(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, {
    "Content-Type": "application/json",
    "Docker-Distribution-API-Version": "registry/2.0",
  });
  response.end(JSON.stringify(value));
}

function refuse(response: ServerResponse, status: number, message: string): void {
  const code = status === 404 ? "MANIFEST_UNKNOWN" : "UNSUPPORTED";
  json(response, status, { errors: [{ code, message }] });
}
