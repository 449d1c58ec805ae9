/**
 * The images of one engine, on containerd: what `ImageService` promises to containers and tasks, and
 * what the image routes of the API need beyond. A crash at any point leaves either the old state or
 * the new one, and leftovers that garbage collection takes.
 */

import type { Readable } from "node:stream";
import { EngineError } from "#base/error.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import { KeyedLock, Semaphore } from "#platform/async.ts";
import type { Containerd } from "#platform/containerd/client.ts";
import { createContentStore } from "#platform/containerd/content.ts";
import { clearLeases } from "#platform/containerd/leases.ts";
import { pullError } from "#platform/registry/errors.ts";
import { createRegistry } from "#platform/registry/registry.ts";
import type { SearchHit } from "#platform/registry/search.ts";
import type {
  AuthConfig,
  DistributionInspect,
  HistoryItem,
  ImageDeleteItem,
  ImagesPruneReport,
} from "#wire/docker/images.ts";
import { fitsPlatform, formatPlatform } from "#wire/image-platform.ts";
import { familiarName, familiarReference, type Platform } from "#wire/oci.ts";
import type { EventBus, Filters, ImageService, RunnableImage } from "../ports.ts";
import {
  assignNames,
  findImage,
  type ImageContext,
  type ImageUser,
  leased,
  publish,
  readReference,
} from "./context.ts";
import { inspectRemote } from "./distribution.ts";
import { createImageExchange, type ImageExchange } from "./exchange.ts";
import { type CommitOptions, commitImage, type ImportOptions, importImage } from "./import.ts";
import { imageHistory, inspectImage } from "./inspect.ts";
import { type ImageUsage, imageUsage, listImages, withContainers } from "./list.ts";
import { loadImages } from "./load.ts";
import type { Report } from "./progress.ts";
import { pullImage } from "./pull.ts";
import { type PushOptions, pushImage } from "./push.ts";
import { ImageRecords, recordName } from "./records.ts";
import { pruneImages, removeImage } from "./remove.ts";
import { saveImages } from "./save.ts";
import { type SearchRequest, searchImages } from "./search.ts";
import { hostPlatform, ImageReader, type StoredImage } from "./stored-image.ts";
import { Unpacker } from "./unpack.ts";

export interface RegistrySettings {
  readonly insecure: readonly string[];
  readonly mirrors: readonly string[];
  readonly maxDownloads: number;
  readonly maxUploads: number;
}

export interface ImageStoreOptions {
  readonly containerd: Containerd;
  /** "overlayfs"; "native" is taken where the kernel cannot do overlays. */
  readonly snapshotter: string;
  readonly registry: RegistrySettings;
  /** Folders of registry certificates, e.g. /etc/skep/certs.d and /etc/docker/certs.d. */
  readonly certFolders: readonly string[];
  readonly userAgent: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly events?: Pick<EventBus, "publish"> | undefined;
}

export interface ImageStore extends ImageService {
  /** The snapshotter that chain ids are found in. */
  readonly snapshotter: string;
  /** Every tag that the repository has at its registry. */
  remoteTags(repository: string, auth?: AuthConfig): Promise<readonly string[]>;
  history(reference: string): Promise<readonly HistoryItem[]>;
  /** Throws `not-found` when the image is there for another platform only. */
  requirePlatform(reference: string, wanted: Platform): Promise<void>;
  /** All images with what they take on disk. */
  usage(): Promise<ImageUsage>;
  tag(reference: string, repository: string, tag: string): Promise<void>;
  remove(reference: string, options: { force: boolean }): Promise<readonly ImageDeleteItem[]>;
  prune(filters: Filters): Promise<ImagesPruneReport>;
  save(references: readonly string[]): Promise<Readable>;
  /** Resolves to the new image's id. */
  import(archive: Readable, options: ImportOptions): Promise<string>;
  commit(options: CommitOptions): Promise<string>;
  /** Every tag of the repository when `tag` is empty. */
  push(repository: string, tag: string, options: PushOptions, report: Report): Promise<void>;
  /** What a registry has under a name, without pulling it. */
  distribution(reference: string, auth?: AuthConfig): Promise<DistributionInspect>;
  /** What a registry finds by words. */
  search(request: SearchRequest): Promise<readonly SearchHit[]>;
  /** Runs a build that takes images from the store and hands one in; all is held meanwhile. */
  exchange<T>(work: (exchange: ImageExchange) => Promise<T>): Promise<T>;
  login(auth: AuthConfig): Promise<{ readonly status: string; readonly token: string }>;
  /** From now on; transfers under way go on as they began. */
  reconfigure(settings: RegistrySettings): void;
  /** Who knows the containers says which images they need. */
  setUsers(users: () => Promise<readonly ImageUser[]>): void;
}

export async function openImageStore(options: ImageStoreOptions): Promise<ImageStore> {
  const { containerd, log } = options;
  const snapshotter = await usableSnapshotter(options);
  const cleared = await clearLeases(containerd);
  if (cleared > 0) log.info("leases of an earlier run cleared", { leases: cleared });
  return new ContainerdImages(options, snapshotter);
}

/** The wanted snapshotter, or `native` (plain copies) where it did not start. */
async function usableSnapshotter(options: ImageStoreOptions): Promise<string> {
  const { plugins } = await options.containerd.introspection.plugins({
    filters: ["type==io.containerd.snapshotter.v1"],
  });
  const works = (name: string) =>
    plugins.some(({ id, initErr }) => id === name && initErr === undefined);
  if (works(options.snapshotter)) return options.snapshotter;
  const reason = plugins.find(({ id }) => id === options.snapshotter)?.initErr?.message;
  if (options.snapshotter === "native" || !works("native")) {
    throw new EngineError(
      "failed-precondition",
      `containerd has no usable snapshotter ${options.snapshotter}: ${reason ?? "not built in"}`,
    );
  }
  options.log.warn("the snapshotter does not work here, layers are copied instead", {
    snapshotter: options.snapshotter,
    reason,
  });
  return "native";
}

class ContainerdImages implements ImageStore {
  readonly snapshotter: string;
  readonly #context: ImageContext;
  #registry: RegistrySettings;
  /** Ids whose snapshots were seen; asking again at every start of a container costs. */
  readonly #unpacked = new Set<string>();
  #users: () => Promise<readonly ImageUser[]> = () => Promise.resolve([]);

  constructor(options: ImageStoreOptions, snapshotter: string) {
    const { containerd, clock, random, log, events, registry, certFolders, userAgent } = options;
    const content = createContentStore(containerd);
    const host = hostPlatform();
    this.snapshotter = snapshotter;
    this.#registry = registry;
    this.#context = {
      containerd,
      content,
      records: new ImageRecords(containerd),
      reader: new ImageReader(content, host),
      unpacker: new Unpacker(containerd, { snapshotter, random }),
      registry: createRegistry({
        config: () => ({ ...this.#registry, certFolders }),
        clock,
        userAgent,
      }),
      clock,
      random,
      log: log.child({ component: "images" }),
      host,
      events,
      users: () => this.#users(),
      forget: (id) => void this.#unpacked.delete(id),
      names: new KeyedLock(),
      layers: new KeyedLock(),
      downloads: new Semaphore(registry.maxDownloads),
      uploads: new Semaphore(registry.maxUploads),
    };
  }

  reconfigure(settings: RegistrySettings): void {
    this.#registry = settings;
    this.#context.downloads.setLimit(settings.maxDownloads);
    this.#context.uploads.setLimit(settings.maxUploads);
  }

  async resolve(reference: string): Promise<RunnableImage> {
    const stored = await findImage(this.#context, reference);
    await this.#ensureUnpacked(stored);
    return {
      id: stored.id,
      config: stored.config,
      chainId: stored.chainIds.at(-1) ?? "",
      os: stored.image.os,
      architecture: stored.image.architecture,
    };
  }

  inspect(reference: string) {
    return inspectImage(this.#context, reference);
  }

  async list(options: { filters: Filters; containers?: boolean }) {
    const rows = await listImages(this.#context, options.filters);
    return options.containers === true ? withContainers(this.#context, rows) : rows;
  }

  async requirePlatform(reference: string, wanted: Platform): Promise<void> {
    const { image } = await findImage(this.#context, reference);
    if (fitsPlatform(image, wanted)) return;
    throw new EngineError(
      "not-found",
      `image with reference ${reference} was found but does not provide the specified platform (${formatPlatform(wanted)})`,
    );
  }

  usage() {
    return imageUsage(this.#context);
  }

  async pull(
    reference: string,
    options: { auth?: AuthConfig; platform?: string; signal?: AbortSignal },
    report: Report,
  ): Promise<void> {
    await pullImage(this.#context, readReference(reference), options, report);
  }

  load(archive: Readable, report: Report, options: { platform?: Platform } = {}): Promise<void> {
    return loadImages(this.#context, archive, report, options.platform);
  }

  async remoteTags(repository: string, auth?: AuthConfig): Promise<readonly string[]> {
    const reference = readReference(repository);
    try {
      return await this.#context.registry.use(reference, { purpose: "pull", auth }, (remote) =>
        remote.tags(),
      );
    } catch (error) {
      throw pullError(error, familiarName(reference), familiarReference(reference));
    }
  }

  history(reference: string) {
    return imageHistory(this.#context, reference);
  }

  async tag(source: string, repository: string, tag: string): Promise<void> {
    const stored = await findImage(this.#context, source);
    const reference = readReference(tag === "" ? repository : `${repository}:${tag}`);
    if (reference.digest !== undefined) {
      throw new EngineError("invalid-argument", "refusing to create a tag with a digest reference");
    }
    await assignNames(this.#context, [recordName(reference)], stored.target);
    publish(
      this.#context,
      "tag",
      stored.id,
      familiarReference(reference),
      stored.config.Labels ?? {},
    );
  }

  remove(reference: string, options: { force: boolean }) {
    return removeImage(this.#context, reference, options);
  }

  prune(filters: Filters) {
    return pruneImages(this.#context, filters);
  }

  save(references: readonly string[]) {
    return saveImages(this.#context, references);
  }

  import(archive: Readable, options: ImportOptions) {
    return importImage(this.#context, archive, options);
  }

  commit(options: CommitOptions) {
    return commitImage(this.#context, options);
  }

  async push(repository: string, tag: string, options: PushOptions, report: Report): Promise<void> {
    const reference = readReference(tag === "" ? repository : `${repository}:${tag}`);
    const wanted = tag === "" ? { ...reference, tag: undefined } : reference;
    await pushImage(this.#context, wanted, options, report);
  }

  distribution(reference: string, auth?: AuthConfig) {
    return inspectRemote(this.#context, readReference(reference), auth);
  }

  search(request: SearchRequest) {
    return searchImages(this.#context, request);
  }

  exchange<T>(work: (exchange: ImageExchange) => Promise<T>): Promise<T> {
    return leased(this.#context, "build", (lease) =>
      work(createImageExchange(this.#context, lease)),
    );
  }

  async login(auth: AuthConfig) {
    await this.#context.registry.login(auth);
    return { status: "Login Succeeded", token: "" };
  }

  setUsers(users: () => Promise<readonly ImageUser[]>): void {
    this.#users = users;
  }

  /** Another tool may have brought the image without its snapshots, or taken them. */
  async #ensureUnpacked(stored: StoredImage): Promise<void> {
    const top = stored.chainIds.at(-1);
    if (top === undefined || this.#unpacked.has(stored.id)) return;
    const { unpacker, content } = this.#context;
    if (!(await unpacker.has(top))) {
      await leased(this.#context, "unpack", async (lease) => {
        for (const [index, descriptor] of stored.manifest.layers.entries()) {
          const parent = stored.chainIds[index - 1] ?? "";
          const diffId = stored.image.rootfs.diff_ids[index];
          await unpacker.unpack({ descriptor, diffId, parent }, lease);
        }
        await content.label(stored.id, {
          [`containerd.io/gc.ref.snapshot.${unpacker.snapshotter}`]: top,
        });
      });
    }
    this.#unpacked.add(stored.id);
  }
}
