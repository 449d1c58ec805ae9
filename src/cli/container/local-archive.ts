/**
 * Archives of this machine's files, for `cp`. Unpacking never leaves its folder: a name with `..`, or
 * one that a link of the archive's own would lead out, is refused.
 */

import { createReadStream, createWriteStream } from "node:fs";
import {
  chmod,
  lchown,
  lstat,
  mkdir,
  readdir,
  realpath,
  rm,
  stat,
  symlink,
  utimes,
} from "node:fs/promises";
import { basename, dirname, join, sep } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { extract, type Header, pack } from "tar-stream";
import { EngineError } from "#base/error.ts";
import { type Packing, packFile } from "../pack-entry.ts";

/** `path` and all below it under the name `asName`; "." means what is in the folder. */
export function packPath(path: string, asName: string, followLink: boolean): Readable {
  const archive = pack();
  const packing: Packing = { archive, firstNames: new Map() };
  void add(packing, path, asName, followLink).then(
    () => archive.finalize(),
    (error: unknown) => archive.destroy(error as Error),
  );
  return Readable.from(archive as AsyncIterable<Uint8Array>, { objectMode: false });
}

type EntryHeader = Partial<Header> & Pick<Header, "name">;

async function add(packing: Packing, path: string, name: string, follow: boolean): Promise<void> {
  const found = await (follow ? stat : lstat)(path);
  if (name !== ".") await packFile(packing, { path, name, found, uid: found.uid, gid: found.gid });
  if (!found.isDirectory()) return;
  for (const child of (await readdir(path)).sort()) {
    await add(packing, join(path, child), name === "." ? child : `${name}/${child}`, false);
  }
}

export interface UnpackOptions {
  /** The archive's first name, and what it is to be called here. */
  readonly rename: readonly [from: string, to: string] | undefined;
  readonly keepOwner: boolean;
}

/** Resolves to the bytes of all files. */
export async function unpackInto(
  archive: Readable,
  folder: string,
  options: UnpackOptions,
): Promise<number> {
  const root = await realpath(folder);
  const reader = extract();
  let bytes = 0;
  const done = pipeline(archive, reader);
  done.catch(() => undefined);
  for await (const item of reader) {
    const { header } = item;
    bytes += header.size ?? 0;
    const path = await pathFor(root, renamed(header.name, options.rename));
    if (path === undefined) item.resume();
    else await write(path, root, header, item as unknown as Readable, options);
  }
  await done;
  return bytes;
}

function renamed(name: string, rename: UnpackOptions["rename"]): string {
  const clean = name.replace(/^\.?\/+/, "").replace(/\/+$/, "");
  if (rename === undefined) return clean;
  const [from, to] = rename;
  const first = clean.split("/", 1)[0] ?? "";
  return first === from || from === "/" || from === "."
    ? [to, ...clean.split("/").slice(from === "/" || from === "." ? 0 : 1)].join("/")
    : clean;
}

/** Undefined for the root itself. */
async function pathFor(root: string, name: string): Promise<string | undefined> {
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.length === 0) return undefined;
  if (parts.includes("..")) throw escapes(name);
  const path = join(root, ...parts);
  const parent = await realpath(dirname(path)).catch(() => undefined);
  if (parent !== undefined && parent !== root && !parent.startsWith(`${root}${sep}`)) {
    throw escapes(name);
  }
  return path;
}

function escapes(name: string): EngineError {
  return new EngineError("invalid-argument", `the archive would be unpacked outside: ${name}`);
}

async function write(
  path: string,
  root: string,
  header: EntryHeader,
  content: Readable,
  { keepOwner }: UnpackOptions,
): Promise<void> {
  const before = await lstat(path).catch(() => undefined);
  await mkdir(dirname(path), { recursive: true });
  const isFolder = header.type === "directory";
  if (before !== undefined && !(isFolder && before.isDirectory())) {
    if (before.isDirectory()) {
      throw new EngineError("invalid-argument", `cannot overwrite folder ${basename(path)}`);
    }
    await rm(path);
  }
  if (isFolder) await mkdir(path, { recursive: true });
  else if (header.type === "symlink") await symlink(header.linkname ?? "", path);
  else if (header.type === "link") {
    const target = await pathFor(root, header.linkname ?? "");
    if (target !== undefined) await pipeline(createReadStream(target), createWriteStream(path));
  } else if (header.type === "file" || header.type === undefined || header.type === null) {
    await pipeline(content, createWriteStream(path, { flags: "wx" }));
  }
  content.resume();
  if (!(await lstat(path).catch(() => undefined))) return;
  if (keepOwner) await lchown(path, header.uid ?? 0, header.gid ?? 0).catch(() => undefined);
  if (header.type === "symlink") return;
  await chmod(path, (header.mode ?? 0o644) & 0o7777);
  if (header.mtime !== undefined && !isFolder) await utimes(path, header.mtime, header.mtime);
}
