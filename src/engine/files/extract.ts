/**
 * A tar stream into a folder of a container. Every name is resolved by the kernel inside the
 * container's root, and made below the descriptor of its folder, so that neither a name in the
 * archive nor a link in the container leads anywhere else.
 */

import { closeSync, constants, mkdirSync } from "node:fs";
import {
  chmod,
  lchown,
  link,
  lstat,
  lutimes,
  mkdir,
  open,
  readdir,
  rmdir,
  symlink,
  unlink,
} from "node:fs/promises";
import { posix } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { extract as createExtract, type Extract, type Header } from "tar-stream";
import { EngineError } from "#base/error.ts";
import { makeNode, SystemError, writeXattr } from "#platform/libc.ts";
import { fdPath, O_PATH, openInRoot } from "#platform/rooted.ts";
import { CAPABILITY_XATTR, capabilityOf, keepCapabilities, tarProblem } from "./pax.ts";
import { OpenFolder, writeNewFile } from "./small-files.ts";

export interface ExtractRequest {
  /** Descriptor of the container's root. */
  readonly root: number;
  /** Folder to extract into, as the container sees it. */
  readonly path: string;
  /** A folder does not take the place of something else, nor the other way round. */
  readonly keepKinds: boolean;
  /** Owner of everything; undefined = as the archive says. */
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
}

/** Files up to this size are read whole, and written several at a time. */
const SMALL_BYTES = 64 * 1024;

type Entry = Extract extends AsyncIterable<infer T> ? T : never;

/** Times of folders are set last, because what is put into them changes them; so many at most. */
const FOLDER_TIMES_MAX = 100_000;

export async function extractTree(archive: Readable, request: ExtractRequest): Promise<void> {
  const extract = createExtract();
  keepCapabilities(extract);
  const folder = new OpenFolder((path) => openFolder(request, path));
  const times: { readonly path: string; readonly mtime: Date }[] = [];
  const feeding = pipeline(archive, extract);
  // Reported by the loop below, which ends with the same error.
  feeding.catch(() => undefined);
  try {
    for await (const entry of extract) {
      await place(entry, request, folder);
      const { name, type, mtime } = entry.header;
      if (type === "directory" && times.length < FOLDER_TIMES_MAX) {
        times.push({ path: name, mtime });
      }
    }
    await feeding;
    await folder.settled();
  } catch (error) {
    extract.destroy();
    if (error instanceof EngineError) throw error;
    if (error instanceof SystemError) throw new EngineError("internal", error.message);
    throw new EngineError(
      "invalid-argument",
      `Error processing tar file(exit status 1): ${tarProblem(error)}`,
    );
  } finally {
    await folder.close();
  }
  for (const { path, mtime } of times.toReversed()) {
    await inFolderOf(request, path, (folder, name) =>
      lutimes(fdPath(folder, name), mtime, mtime),
    ).catch(() => undefined);
  }
}

async function place(entry: Entry, request: ExtractRequest, current: OpenFolder): Promise<void> {
  const { header } = entry;
  const [parent, name] = placeOf(request, header.name);
  const folder = await current.at(parent);
  if (isSmallFile(header) && name !== ".") {
    const content = await contentOf(entry);
    return current.begin(name, () => placeSmall(folder, name, { header, content, request }));
  }
  // What is under way may be what this one takes the place of, or is a link to.
  await current.settled();
  const path = fdPath(folder, name);
  if (await makeRoom(folder, name, header, request)) await make(entry, path, request);
  if (header.type !== "link") await adorn(path, header, request);
  entry.resume();
}

/** The folder and the name in it, as the container sees them. */
function placeOf(request: ExtractRequest, entryName: string): readonly [string, string] {
  const full = posix.join("/", request.path, posix.join("/", entryName));
  return [posix.dirname(full), posix.basename(full) || "."];
}

function isSmallFile({ type, size }: Header): boolean {
  return (type === "file" || type === "contiguous-file") && size <= SMALL_BYTES;
}

async function contentOf(entry: Entry): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of entry) chunks.push(chunk as Uint8Array);
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
}

interface Small {
  readonly header: Header;
  readonly content: Uint8Array;
  readonly request: ExtractRequest;
}

async function placeSmall(folder: number, name: string, small: Small): Promise<void> {
  const { header, content, request } = small;
  const path = fdPath(folder, name);
  const file = {
    content,
    mode: header.mode & 0o7777,
    uid: request.owner?.uid ?? header.uid,
    gid: request.owner?.gid ?? header.gid,
    mtime: header.mtime,
    capability: capabilityOf(header),
  };
  if (await writeNewFile(path, file)) return;
  await makeRoom(folder, name, header, request);
  if (!(await writeNewFile(path, file))) throw new SystemError("open", path, "EEXIST");
}

/** Calls `work` with the folder of a name in the archive, made when it is missing. */
async function inFolderOf(
  request: ExtractRequest,
  entryName: string,
  work: (folder: number, name: string) => Promise<void>,
): Promise<void> {
  const [parent, name] = placeOf(request, entryName);
  const folder = openFolder(request, parent);
  try {
    await work(folder, name);
  } finally {
    closeSync(folder);
  }
}

function openFolder(request: ExtractRequest, path: string): number {
  try {
    return openInRoot(request.root, path, O_PATH | constants.O_DIRECTORY);
  } catch (error) {
    if (!(error instanceof SystemError) || error.errno !== "ENOENT" || path === "/") throw error;
  }
  const parent = openFolder(request, posix.dirname(path));
  try {
    mkdirSync(fdPath(parent, posix.basename(path)), { mode: 0o755 });
  } finally {
    closeSync(parent);
  }
  return openInRoot(request.root, path, O_PATH | constants.O_DIRECTORY);
}

/** False when what is there stays: a folder for a folder. */
async function makeRoom(
  folder: number,
  name: string,
  header: Header,
  { keepKinds, path }: ExtractRequest,
): Promise<boolean> {
  const existing = await lstat(fdPath(folder, name)).catch(() => undefined);
  if (existing === undefined) return true;
  const isFolder = existing.isDirectory();
  const becomesFolder = header.type === "directory";
  if (isFolder && becomesFolder) return false;
  if (name === ".") return false;
  if (keepKinds && isFolder !== becomesFolder) {
    const [old, fresh] = isFolder ? ["directory", "non-directory"] : ["non-directory", "directory"];
    throw new EngineError(
      "invalid-argument",
      `cannot overwrite ${old} "${posix.join(path, header.name)}" with ${fresh} "${path}"`,
    );
  }
  await removeTree(folder, name);
  return true;
}

/** Removes a name and what is below it, without following a link anywhere. */
async function removeTree(folder: number, name: string): Promise<void> {
  const path = fdPath(folder, name);
  if (!(await lstat(path)).isDirectory()) return unlink(path);
  const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
  const opened = await open(path, flags);
  try {
    for (const below of await readdir(fdPath(opened.fd))) await removeTree(opened.fd, below);
  } finally {
    await opened.close();
  }
  await rmdir(path);
}

async function make(entry: Entry, path: string, request: ExtractRequest): Promise<void> {
  const { header } = entry;
  const { mode, devmajor: major, devminor: minor } = header;
  switch (header.type) {
    case "directory":
      await mkdir(path, { mode });
      return;
    case "symlink":
      return symlink(header.linkname, path);
    case "link":
      return makeLink(header.linkname, path, request);
    case "character-device":
      return makeNode(path, constants.S_IFCHR | mode, major, minor);
    case "block-device":
      return makeNode(path, constants.S_IFBLK | mode, major, minor);
    case "fifo":
      return makeNode(path, constants.S_IFIFO | mode, 0, 0);
    case "file":
    case "contiguous-file":
      return makeFile(entry, path, mode);
  }
}

async function makeFile(entry: Entry, path: string, mode: number): Promise<void> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const file = await open(path, flags, mode);
  await pipeline(entry, file.createWriteStream());
}

/** The other name is of the archive's, too. */
async function makeLink(other: string, path: string, request: ExtractRequest): Promise<void> {
  await inFolderOf(request, other, (folder, name) => link(fdPath(folder, name), path));
}

async function adorn(path: string, header: Header, { owner }: ExtractRequest): Promise<void> {
  await lchown(path, owner?.uid ?? header.uid, owner?.gid ?? header.gid);
  // After the owner: a change of that takes set-user-id bits and capabilities away.
  if (header.type !== "symlink") await chmodPlain(path, header.mode);
  const capability = capabilityOf(header);
  if (capability !== undefined) writeXattr(path, CAPABILITY_XATTR, capability);
  await lutimes(path, header.mtime, header.mtime);
}

/** chmod(2) follows links: only of what is none, which the container could change at any time. */
async function chmodPlain(path: string, mode: number): Promise<void> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const status = await lstat(path);
  if (!status.isFile() && !status.isDirectory()) return;
  const opened = await open(path, flags);
  try {
    await chmod(fdPath(opened.fd), mode & 0o7777);
  } finally {
    await opened.close();
  }
}
