/**
 * Docker's contexts on disk, below the folder of its configuration: `contexts/meta/ID/meta.json` tells
 * where an engine is, `contexts/tls/ID/ENDPOINT/*.pem` how to trust it; ID is the SHA-256 of the name.
 * What other programs wrote there is kept as it is.
 */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { EngineError, messageOf } from "#base/error.ts";
import { isMissing } from "#platform/missing.ts";
import { configFolder, replaceFile } from "../config-file.ts";
import { DEFAULT_CONTEXT } from "../connect/endpoint.ts";

/** The endpoint that a context is about; others (Kubernetes) are kept and not used. */
export const ENDPOINT = "docker";

export interface ContextMeta {
  readonly Name: string;
  readonly Metadata: { readonly Description?: string; readonly [other: string]: unknown };
  readonly Endpoints: Readonly<Record<string, EndpointMeta>>;
}

export interface EndpointMeta {
  readonly Host?: string;
  readonly SkipTLSVerify?: boolean;
  readonly [other: string]: unknown;
}

/** File name ("ca.pem") → content. */
export type TlsFiles = Readonly<Record<string, Buffer>>;

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$/;

export function checkContextName(name: string): void {
  if (name === DEFAULT_CONTEXT) {
    throw new EngineError("invalid-argument", `"${DEFAULT_CONTEXT}" is a reserved context name`);
  }
  if (NAME.test(name)) return;
  throw new EngineError(
    "invalid-argument",
    `context name ${JSON.stringify(name)} is invalid, names are validated against regexp ${JSON.stringify(NAME.source)}`,
  );
}

export class ContextStore {
  readonly #folder: string;

  constructor(env: NodeJS.ProcessEnv) {
    this.#folder = join(configFolder(env), "contexts");
  }

  metaPath(name: string): string {
    return join(this.#folder, "meta", idOf(name));
  }

  tlsPath(name: string): string {
    return join(this.#folder, "tls", idOf(name));
  }

  /** In no order. A folder that holds no context is passed over. */
  all(): readonly ContextMeta[] {
    const folder = join(this.#folder, "meta");
    return namesIn(folder).flatMap((id) => {
      try {
        return [readMeta(join(folder, id, "meta.json"))];
      } catch (error) {
        if (isMissing(error)) return [];
        throw error;
      }
    });
  }

  /** That a context of this name can be made. */
  checkNew(name: string): void {
    checkContextName(name);
    if (!this.has(name)) return;
    throw new EngineError("already-exists", `context ${JSON.stringify(name)} already exists`);
  }

  has(name: string): boolean {
    return namesIn(this.metaPath(name)).includes("meta.json");
  }

  /** Throws not-found, in docker's words. */
  get(name: string): ContextMeta {
    const path = join(this.metaPath(name), "meta.json");
    try {
      return readMeta(path);
    } catch (error) {
      if (!isMissing(error)) throw error;
      throw new EngineError(
        "not-found",
        `context ${JSON.stringify(name)}: context not found: open ${path}: no such file or directory`,
      );
    }
  }

  /** Endpoint → its files. */
  tls(name: string): Readonly<Record<string, TlsFiles>> {
    const folder = this.tlsPath(name);
    const filesOf = (endpoint: string) =>
      namesIn(join(folder, endpoint)).map(
        (file) => [file, readFileSync(join(folder, endpoint, file))] as const,
      );
    return Object.fromEntries(
      namesIn(folder).map((endpoint) => [endpoint, Object.fromEntries(filesOf(endpoint))]),
    );
  }

  /** Writes a context; with `tls`, that is all it has of it. The certificates come first: a context is there with them or not at all. */
  async put(meta: ContextMeta, tls?: Readonly<Record<string, TlsFiles>>): Promise<void> {
    if (tls !== undefined) {
      await rm(this.tlsPath(meta.Name), { recursive: true, force: true });
      for (const [endpoint, files] of Object.entries(tls)) {
        const folder = join(this.tlsPath(meta.Name), endpoint);
        await mkdir(folder, { recursive: true, mode: 0o700 });
        for (const [name, content] of Object.entries(files)) {
          await replaceFile(join(folder, name), content, 0o600);
        }
      }
    }
    await mkdir(this.metaPath(meta.Name), { recursive: true, mode: 0o755 });
    await replaceFile(join(this.metaPath(meta.Name), "meta.json"), JSON.stringify(meta), 0o644);
  }

  async remove(name: string): Promise<void> {
    await rm(this.metaPath(name), { recursive: true, force: true });
    await rm(this.tlsPath(name), { recursive: true, force: true });
  }
}

function idOf(name: string): string {
  return createHash("sha256").update(name).digest("hex");
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function readMeta(path: string): ContextMeta {
  return metaFrom(readFileSync(path, "utf8"), path);
}

/** A `meta.json`, of which Go leaves out what is empty; `path` is for the message. */
export function metaFrom(text: string, path: string): ContextMeta {
  try {
    const { Name, Metadata, Endpoints } = JSON.parse(text) as Partial<ContextMeta>;
    return { Name: Name ?? "", Metadata: { ...Metadata }, Endpoints: { ...Endpoints } };
  } catch (error) {
    throw new EngineError("invalid-argument", `parsing ${path}: ${messageOf(error)}`);
  }
}
