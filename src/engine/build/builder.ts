/**
 * `docker build` by buildah: context to disk, base images from our store, the finished image into it.
 * A build owns a temporary folder, an endpoint, a network and one process; all are gone when it ends,
 * however it ends, and what a dead engine left of them goes at the next start. Without buildah every
 * build is refused with how to get it.
 */

import { mkdir, mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { EngineError, messageOf } from "#base/error.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import { Semaphore } from "#platform/async.ts";
import { isMissing } from "#platform/missing.ts";
import { domainOf } from "#platform/registry/registry.ts";
import type { AuthConfig } from "#wire/docker/images.ts";
import { familiarReference } from "#wire/oci.ts";
import type { ImageExchange } from "../images/exchange.ts";
import { readUntil } from "../images/filters.ts";
import type { ImageStore } from "../images/store.ts";
import type { ContainerService, Filters, NetworkService, ProgressMessage } from "../ports.ts";
import { buildArguments } from "./arguments.ts";
import { BaseImages } from "./base-images.ts";
import { Buildah, NOT_INSTALLED, netnsPath } from "./buildah.ts";
import {
  type CachedLayer,
  chooseImages,
  type PruneChoice,
  readImages,
  readLayers,
  totalSize,
} from "./cache.ts";
import { type BuildContext, openContext } from "./context.ts";
import { removeBuildGroups } from "./control-groups.ts";
import { type BuildEndpoint, openBuildEndpoint } from "./endpoint.ts";
import { withBuildNetwork } from "./network.ts";
import { failureOf, shownLine } from "./output.ts";
import { canonicalHost, registriesConf, registryHosts } from "./registries.ts";
import type { BuildRequest } from "./request.ts";

export interface BuilderOptions {
  readonly dataRoot: string;
  readonly execRoot: string;
  readonly images: ImageStore;
  readonly networks: Pick<NetworkService, "attach" | "detach" | "idOf" | "inspect">;
  readonly containers: Pick<ContainerService, "inspect">;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface PruneRequest {
  /** Bytes of the newest that may stay; undefined = none. */
  readonly keepBytes: number | undefined;
  readonly filters: Filters;
}

export interface CacheReport {
  /** Layers that are gone. */
  readonly deleted: readonly string[];
  readonly bytes: number;
}

export interface Builder {
  /** Throws what keeps the build from its start; what happens later is reported, and thrown, too. */
  build(request: BuildRequest, report: BuildReport): Promise<void>;
  /** The layers that builds keep. */
  cache(): Promise<readonly CachedLayer[]>;
  /** `conflict` while a build runs. */
  prune(request: PruneRequest): Promise<CacheReport>;
  close(): void;
}

/** A promise where the client reads slower than it is told. */
export type BuildReport = (message: ProgressMessage) => Promise<void> | undefined;

/** Builds at once; more wait. */
const BUILDS_MAX = 4;
/** All of the cache is what docker calls dangling. */
const PRUNE_FILTERS = ["until", "dangling", "label", "label!"];
/** What the cache may grow to; beyond that the oldest goes after a build. */
const CACHE_MAX_BYTES = 20 * 1024 ** 3;

/** A build that failed, with the exit code that a client is to end with. */
export class BuildError extends EngineError {
  readonly exitCode: number;

  constructor(message: string, exitCode: number) {
    super("unknown", message);
    this.exitCode = exitCode;
  }
}

export async function openBuilder(options: BuilderOptions): Promise<Builder> {
  const builder = new BuildahBuilder(options);
  await builder.clear();
  return builder;
}

class BuildahBuilder implements Builder {
  readonly #options: BuilderOptions;
  readonly #buildah: Buildah;
  readonly #temporary: string;
  readonly #slots = new Semaphore(BUILDS_MAX);
  readonly #ending = new AbortController();
  #running = 0;
  /** A build was killed: its container is still in the storage. */
  #leftovers = true;
  #pruning: Promise<unknown> = Promise.resolve();

  constructor(options: BuilderOptions) {
    this.#options = options;
    const data = join(options.dataRoot, "build");
    this.#buildah = new Buildah({ data, run: join(options.execRoot, "build") });
    this.#temporary = join(data, "tmp");
  }

  /** What builds of an engine that died left in their folders. */
  async clear(): Promise<void> {
    for (const name of await readdir(this.#temporary).catch(() => [])) {
      await removeBuildGroups(join(this.#temporary, name));
    }
    await rm(this.#temporary, { recursive: true, force: true });
  }

  close(): void {
    this.#ending.abort(new EngineError("cancelled", "the engine is ending"));
  }

  async build(request: BuildRequest, report: BuildReport): Promise<void> {
    if (!(await this.#buildah.installed())) throw new EngineError("unimplemented", NOT_INSTALLED);
    const signal = AbortSignal.any([request.signal, this.#ending.signal]);
    await this.#slots.run(async () => {
      signal.throwIfAborted();
      await this.#inFolder(async (folder) => {
        const context = await openContext(request, join(folder, "context"));
        await this.#pruning;
        this.#running += 1;
        try {
          if (this.#leftovers && this.#running === 1) await this.#sweep(folder);
          await this.#build({ ...request, signal }, { folder, context, report });
        } finally {
          this.#running -= 1;
          this.#leftovers ||= signal.aborted;
        }
      });
    });
    await this.#limitCache();
  }

  async cache(): Promise<readonly CachedLayer[]> {
    return readLayers(await this.#buildah.listing("layers"));
  }

  prune({ keepBytes, filters }: PruneRequest): Promise<CacheReport> {
    const unknown = [...filters.keys()].find((key) => !PRUNE_FILTERS.includes(key));
    if (unknown !== undefined) {
      throw new EngineError("invalid-argument", `invalid filter '${unknown}'`);
    }
    // Layers have no labels: none has the one that is asked for.
    if (filters.has("label")) return Promise.resolve({ deleted: [], bytes: 0 });
    const beforeMs = readUntil(filters, this.#options.clock.nowMs());
    return this.#alone({ keepBytes, beforeMs });
  }

  #alone(choice: PruneChoice): Promise<CacheReport> {
    const pruned = this.#pruning.then(() => this.#prune(choice));
    this.#pruning = pruned.catch(() => undefined);
    return pruned;
  }

  async #prune(choice: PruneChoice): Promise<CacheReport> {
    if (!(await exists(this.#buildah.storage))) return { deleted: [], bytes: 0 };
    if (this.#running > 0) {
      throw new EngineError(
        "conflict",
        `the build cache is in use by ${this.#running} running build(s): wait for them to end, or stop them`,
      );
    }
    if (!(await this.#buildah.installed())) {
      const before = await this.cache().catch(() => []);
      await this.#buildah.forget();
      return reportOf(before, []);
    }
    return this.#inFolder(async (folder) => {
      await this.#sweep(folder);
      const before = await this.cache();
      const images = await readImages(await this.#buildah.listing("images"));
      const gone = chooseImages(images, before, choice);
      const all = gone.length === images.length;
      const ids = gone.map(({ id }) => id);
      if (ids.length > 0 || all) {
        await this.#buildah.run({
          args: ["rmi", "--force", ...(all ? ["--all"] : ids)],
          temporary: folder,
        });
      }
      return reportOf(before, await this.cache());
    });
  }

  async #limitCache(): Promise<void> {
    if (this.#running > 0) return;
    try {
      if (totalSize(await this.cache()) <= CACHE_MAX_BYTES) return;
      const keepBytes = Math.floor(CACHE_MAX_BYTES * 0.8);
      const { bytes } = await this.#alone({ keepBytes, beforeMs: undefined });
      this.#options.log.info("the build cache was too large, the oldest is gone", { bytes });
    } catch (error) {
      this.#options.log.warn("the build cache could not be made smaller", { error });
    }
  }

  async #sweep(folder: string): Promise<void> {
    await this.#buildah.removeLeftovers(folder);
    this.#leftovers = false;
  }

  async #inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
    await mkdir(this.#temporary, { recursive: true, mode: 0o700 });
    const folder = await mkdtemp(join(this.#temporary, "build-"));
    try {
      return await work(folder);
    } finally {
      await removeBuildGroups(folder);
      // What a killed builder had mounted is let go of a moment later.
      await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }).catch(
        (error: unknown) =>
          this.#options.log.warn("a build's folder could not be removed", { folder, error }),
      );
    }
  }

  async #build(request: BuildRequest, run: BuildRun): Promise<void> {
    const { images } = this.#options;
    await images.exchange(async (exchange) => {
      await Buildah.writePolicy(policyOf(run.folder));
      const texts = [run.context.dockerfileText, ...Object.values(request.buildArgs)];
      const hosts = registryHosts(texts);
      const report = (message: ProgressMessage) => {
        if (!request.quiet) void run.report(message);
      };
      const base = new BaseImages({ exchange, images, request, report, authOf: authOf(request) });
      const endpoint = await openBuildEndpoint({
        exchange,
        hosts,
        resolve: (host, path, wanted) => base.resolve(canonicalHost(host), path, wanted),
        random: this.#options.random,
      });
      try {
        const registries = registriesConf(hosts, endpoint.locations);
        for (const id of imageIds(texts)) {
          if ((await exchange.manifest(id)) === undefined) continue;
          await this.#buildah.run({
            args: pullArguments(run.folder, `${endpoint.locations[0]}/library/${id}`),
            temporary: run.folder,
            signal: request.signal,
          });
        }
        await this.#make(request, { ...run, registries, endpoint });
        await this.#takeIn(request, { ...run, endpoint, exchange });
      } finally {
        await endpoint.close();
      }
    });
  }

  async #make(
    request: BuildRequest,
    run: BuildRun & { registries: string; endpoint: BuildEndpoint },
  ) {
    const { folder, context, report, registries, endpoint } = run;
    const files = {
      context,
      idFile: idFileOf(folder),
      policyFile: policyOf(folder),
      netnsPath: netnsPath(folder),
    };
    const { exitCode, errors } = await withBuildNetwork(
      this.#options,
      request.networkMode,
      (network) =>
        this.#buildah.run({
          args: buildArguments(request, network, files),
          temporary: folder,
          netnsPid: network.pid,
          registriesConf: registries,
          onLine: (line) => {
            const shown = shownLine(line);
            if (shown === undefined || request.quiet) return undefined;
            return report({ stream: `${shown}\n` });
          },
          signal: request.signal,
        }),
    );
    request.signal.throwIfAborted();
    // Why a base image could not be had, we know better than the builder, which goes on with what it
    // still has of an earlier build.
    const missing = endpoint.failure();
    if (missing !== undefined) throw missing;
    if (exitCode === 0) return;
    const { message, code } = failureOf(errors, exitCode);
    throw new BuildError(message, code);
  }

  async #takeIn(
    request: BuildRequest,
    run: BuildRun & { endpoint: BuildEndpoint; exchange: ImageExchange },
  ): Promise<void> {
    const { folder, report, endpoint, exchange } = run;
    const id = (await readFile(idFileOf(folder), "utf8")).trim();
    const { exitCode, errors } = await this.#buildah.run({
      args: [
        "push",
        "--quiet",
        "--disable-compression",
        "--tls-verify=false",
        `--signature-policy=${policyOf(folder)}`,
        id,
        `docker://${endpoint.target}`,
      ],
      temporary: folder,
      signal: request.signal,
    });
    request.signal.throwIfAborted();
    const pushed = endpoint.pushed();
    if (exitCode !== 0 || pushed === undefined) {
      const { message } = failureOf(errors, exitCode);
      throw new EngineError("internal", `the image was built, but not taken over: ${message}`);
    }
    const image = await exchange.add({ ...pushed, names: request.names });
    if (request.quiet) return report({ stream: `${image}\n` });
    void report({ aux: { ID: image } });
    void report({
      stream: `Successfully built ${image.slice("sha256:".length, "sha256:".length + 12)}\n`,
    });
    for (const name of request.names) {
      void report({ stream: `Successfully tagged ${familiarReference(name)}\n` });
    }
  }
}

interface BuildRun {
  readonly folder: string;
  readonly context: BuildContext;
  readonly report: BuildReport;
}

function idFileOf(folder: string): string {
  return join(folder, "image-id");
}

function policyOf(folder: string): string {
  return join(folder, "policy.json");
}

function pullArguments(folder: string, image: string): readonly string[] {
  const settings = ["--quiet", "--tls-verify=false", `--signature-policy=${policyOf(folder)}`];
  return ["pull", ...settings, `docker://${image}`];
}

const IDS_MAX = 32;

/** Whole ids of images that the texts may name: the builder looks for those in its storage only. */
function imageIds(texts: readonly string[]): readonly string[] {
  const found = texts.flatMap((text) =>
    [...text.matchAll(/(?<![@\w])(?:sha256:)?([0-9a-f]{64})(?!\w)/g)].map(([, hex]) => hex),
  );
  return [...new Set(found)].slice(0, IDS_MAX).map((hex) => `sha256:${hex}`);
}

/** Clients name their registries by URLs as well as by hosts. */
function authOf({ auths }: BuildRequest): (domain: string) => AuthConfig | undefined {
  const byDomain = new Map<string, AuthConfig>();
  for (const [server, auth] of auths) {
    try {
      byDomain.set(domainOf(server), auth);
    } catch (error) {
      throw new EngineError("invalid-argument", messageOf(error));
    }
  }
  return (domain) => byDomain.get(domain);
}

function reportOf(before: readonly CachedLayer[], after: readonly CachedLayer[]): CacheReport {
  const left = new Set(after.map(({ id }) => id));
  const gone = before.filter(({ id }) => !left.has(id));
  return { deleted: gone.map(({ id }) => id), bytes: totalSize(gone) };
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: unknown) => {
      if (isMissing(error)) return false;
      throw error;
    },
  );
}
