/** Files of containers for the Engine API: `docker cp` both ways, `diff`, `export`. */

import { closeSync, constants } from "node:fs";
import type { Readable } from "node:stream";
import { EngineError } from "#base/error.ts";
import { deferred } from "#platform/async.ts";
import { SystemError } from "#platform/libc.ts";
import { O_PATH, openInRoot } from "#platform/rooted.ts";
import type { ContainerPathStat, FilesystemChange } from "#wire/docker/containers.ts";
import type { Container } from "../containers/container.ts";
import { type ContainerContext, publishEvent } from "../containers/context.ts";
import { readUserTables } from "../containers/prepare-spec.ts";
import { resolveUser } from "../containers/user.ts";
import { listChanges } from "./changes.ts";
import { extractTree } from "./extract.ts";
import { packTree } from "./pack.ts";
import { locate } from "./stat.ts";
import { rootfsOf, withFiles, withOwnFiles } from "./view.ts";

export interface PutOptions {
  /** A folder in the container that exists. */
  readonly path: string;
  readonly keepKinds: boolean;
  /** Everything belongs to the container's user, instead of to whom the archive says. */
  readonly toUser: boolean;
}

export interface FileArchive {
  readonly stat: ContainerPathStat;
  readonly chunks: AsyncIterable<Uint8Array>;
}

export interface FileService {
  stat(reference: string, path: string): Promise<ContainerPathStat>;
  /** The archive must be read to its end or given up: until then the files are held. */
  get(reference: string, path: string): Promise<FileArchive>;
  put(reference: string, archive: Readable, options: PutOptions): Promise<void>;
  changes(reference: string): Promise<readonly FilesystemChange[]>;
  export(reference: string): Promise<AsyncIterable<Uint8Array>>;
}

export function createFileService(context: ContainerContext): FileService {
  const find = (reference: string) => {
    const container = context.registry.find(reference);
    const { phase } = container.state;
    if (phase !== "removing" && phase !== "dead") return container;
    throw new EngineError("conflict", `container ${container.id} is marked for removal`);
  };
  return {
    stat: async (reference, path) => {
      const container = find(reference);
      return withFiles(context, container, path, (root) =>
        locate(root, path, reference, ({ stat }) => Promise.resolve(stat)),
      );
    },
    get: async (reference, path) => getFiles(context, find(reference), path, reference),
    put: async (reference, archive, options) =>
      putFiles(context, find(reference), archive, { ...options, reference }),
    changes: async (reference) => {
      const container = find(reference);
      return listChanges(await rootfsOf(context, container), BOUND);
    },
    export: async (reference) => exportFiles(context, find(reference)),
  };
}

/** Files that are bound into every container. */
const BOUND = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

async function getFiles(
  context: ContainerContext,
  container: Container,
  path: string,
  reference: string,
): Promise<FileArchive> {
  const archive = held<FileArchive>((give) =>
    withFiles(context, container, path, (root) =>
      locate(root, path, reference, async ({ folder, name, stat }) => {
        // A folder is named by what the caller wrote, in place of "." for itself.
        const chunks = packTree({ folder, name, as: stat.name });
        await give({ stat, chunks });
      }),
    ),
  );
  const result = await archive;
  publishEvent(context, container, "archive-path");
  return result;
}

async function exportFiles(
  context: ContainerContext,
  container: Container,
): Promise<AsyncIterable<Uint8Array>> {
  const { chunks } = await held<{ readonly chunks: AsyncIterable<Uint8Array> }>((give) =>
    withOwnFiles(context, container, (root) =>
      give({ chunks: packTree({ folder: root, name: ".", as: "" }) }),
    ),
  );
  publishEvent(context, container, "export");
  return chunks;
}

/**
 * Resolves to what `work` gives; `work` itself goes on, and holds what it holds, until the chunks
 * were read or given up.
 */
async function held<T extends { readonly chunks: AsyncIterable<Uint8Array> }>(
  work: (give: (value: T) => Promise<void>) => Promise<void>,
): Promise<T> {
  const given = deferred<T>();
  const read = deferred();
  const until = async function* (chunks: AsyncIterable<Uint8Array>) {
    try {
      yield* chunks;
    } finally {
      read.resolve();
    }
  };
  work(async (value) => {
    given.resolve({ ...value, chunks: until(value.chunks) });
    await read.promise;
  }).catch((error: unknown) => given.reject(error));
  return given.promise;
}

async function putFiles(
  context: ContainerContext,
  container: Container,
  archive: Readable,
  options: PutOptions & { readonly reference: string },
): Promise<void> {
  const { path, keepKinds, toUser, reference } = options;
  const owner = toUser ? await ownerOf(context, container) : undefined;
  await withFiles(context, container, path, async (root) => {
    requireFolder(root, path, reference);
    requireWritable(container, path);
    await extractTree(archive, { root, path, keepKinds, owner });
  });
  publishEvent(context, container, "extract-to-dir");
}

function requireFolder(root: number, path: string, reference: string): void {
  try {
    closeSync(openInRoot(root, path, O_PATH | constants.O_DIRECTORY));
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    if (error.errno !== "ENOTDIR") {
      throw new EngineError(
        "not-found",
        `Could not find the file ${path} in container ${reference}`,
      );
    }
    throw new EngineError("invalid-argument", "extraction point is not a directory");
  }
}

function requireWritable({ record }: Container, path: string): void {
  const mount = record.mounts.findLast(
    ({ destination }) => path === destination || path.startsWith(`${destination}/`),
  );
  if (mount?.readOnly) {
    throw new EngineError("forbidden", "mounted volume is marked read-only");
  }
  if (mount === undefined && record.hostConfig.ReadonlyRootfs) {
    throw new EngineError("forbidden", "container rootfs is marked read-only");
  }
}

async function ownerOf(context: ContainerContext, container: Container) {
  const user = container.record.config.User ?? "";
  if (user === "") return undefined;
  const tables = await readUserTables(context, await rootfsOf(context, container));
  const { uid, gid } = resolveUser(user, [], tables);
  return { uid, gid };
}
