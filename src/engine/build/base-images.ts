/**
 * The images that a build starts from or copies from, as the user of this engine means them: first
 * what the store has under the name or the id, and what a registry has when it has none.
 */

import { EngineError } from "#base/error.ts";
import type { AuthConfig } from "#wire/docker/images.ts";
import { isDigest, parseManifest, parseReference, type Reference } from "#wire/oci.ts";
import type { ImageExchange, ServedManifest } from "../images/exchange.ts";
import type { ImageService, ProgressMessage } from "../ports.ts";
import type { BuildRequest } from "./request.ts";

export interface BaseImagePorts {
  readonly exchange: ImageExchange;
  readonly images: Pick<ImageService, "pull" | "inspect">;
  readonly request: Pick<BuildRequest, "pull" | "platform" | "signal">;
  readonly report: (message: ProgressMessage) => void;
  readonly authOf: (domain: string) => AuthConfig | undefined;
}

export class BaseImages {
  readonly #ports: BaseImagePorts;

  constructor(ports: BaseImagePorts) {
    this.#ports = ports;
  }

  async resolve(domain: string, path: string, wanted: string): Promise<ServedManifest> {
    if (isDigest(wanted)) return this.#pinned(domain, path, wanted);
    const name = `${domain}/${path}:${wanted}`;
    const { request, exchange } = this.#ports;
    if (!request.pull && (await this.#fits(name))) {
      const stored = await exchange.manifest(name);
      if (stored !== undefined) return stored;
    }
    const byId = await this.#byId(domain, path, wanted);
    if (byId !== undefined) return byId;
    await this.#pull(name);
    const pulled = await exchange.manifest(name);
    if (pulled !== undefined) return pulled;
    throw new EngineError("not-found", `image ${name} was removed while it was pulled`);
  }

  /**
   * Of an index the store keeps one platform only, under the index's digest; the builder checks the
   * bytes of what it asked for, so that document comes from the registry again.
   */
  async #pinned(domain: string, path: string, digest: string): Promise<ServedManifest> {
    const name = `${domain}/${path}@${digest}`;
    const { exchange, authOf } = this.#ports;
    const stored = await exchange.manifest(name);
    if (stored?.digest === digest) return stored;
    const remote = await exchange.remoteManifest(referenceOf(name), authOf(domain));
    const parsed = parseManifest(Buffer.from(remote.bytes).toString("utf8"), remote.mediaType);
    if (!parsed.ok) throw new EngineError("invalid-argument", parsed.error);
    if (stored === undefined) await this.#pull(name);
    // Its layers are known by it.
    await exchange.manifest(name);
    return remote;
  }

  /** The image that the store has is for the platform that is asked for. */
  async #fits(name: string): Promise<boolean> {
    const { request, images } = this.#ports;
    if (request.platform === "") return true;
    const found = await images.inspect(name).catch(() => undefined);
    if (found === undefined) return false;
    const [os, architecture] = request.platform.split("/");
    return found.Os === os && (architecture === undefined || found.Architecture === architecture);
  }

  /** An id, whole or short, looks like a name of the default registry to the builder. */
  async #byId(domain: string, path: string, tag: string): Promise<ServedManifest | undefined> {
    if (domain !== "docker.io" || !path.startsWith("library/")) return undefined;
    const bare = path.slice("library/".length);
    if (bare === "sha256") return this.#ports.exchange.manifest(`sha256:${tag}`);
    return tag === "latest" && /^[0-9a-f]{4,64}$/.test(bare)
      ? this.#ports.exchange.manifest(bare)
      : undefined;
  }

  async #pull(name: string): Promise<void> {
    const { images, request, report, authOf } = this.#ports;
    const auth = authOf(referenceOf(name).domain);
    const options = {
      signal: request.signal,
      ...(auth === undefined ? {} : { auth }),
      ...(request.platform === "" ? {} : { platform: request.platform }),
    };
    await images.pull(name, options, report);
  }
}

function referenceOf(name: string): Reference {
  const parsed = parseReference(name);
  if (!parsed.ok) throw new EngineError("invalid-argument", parsed.error);
  return parsed.value;
}
