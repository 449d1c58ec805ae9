/** The context of a build as an archive: a folder without what it ignores, or what stdin brings. */

import { createReadStream } from "node:fs";
import { lstat, readdir, readFile, readlink, stat } from "node:fs/promises";
import { join, relative, resolve, sep } from "node:path";
import { Readable, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Header, type Pack, pack } from "tar-stream";
import { EngineError } from "#base/error.ts";
import { IgnoreRules } from "./ignore.ts";

export interface PackedContext {
  readonly archive: Readable;
  /** The name of the Dockerfile in the archive; "" = the usual one. */
  readonly dockerfile: string;
}

/** Put into the archive beside the folder's files. */
interface Extra {
  readonly name: string;
  readonly content: Buffer;
}

const OUTSIDE_NAME = ".dockerfile.outside";

/** True for what the engine fetches itself. */
export function isRemote(path: string): boolean {
  return /^(?:https?:\/\/|git:\/\/|git@|ssh:\/\/|github\.com\/)/.test(path);
}

/** `dockerfile` is a path of this machine, "-" for stdin, or undefined. */
export async function packFolder(
  folder: string,
  dockerfile: string | undefined,
  stdin: Readable,
): Promise<PackedContext> {
  const found = await stat(folder).catch(() => undefined);
  if (found === undefined) {
    throw failed(`unable to prepare context: path "${folder}" not found`);
  }
  if (!found.isDirectory()) {
    throw failed(`unable to prepare context: context must be a directory: ${folder}`);
  }
  const { name, extra } = await locate(folder, dockerfile, stdin);
  const rules = await readRules(folder, name);
  const archive = pack();
  void addAll(archive, folder, rules, extra).then(
    () => archive.finalize(),
    (error: unknown) => archive.destroy(error as Error),
  );
  const body = Readable.from(archive as AsyncIterable<Uint8Array>, { objectMode: false });
  return { archive: body, dockerfile: name };
}

function failed(message: string): EngineError {
  return new EngineError("invalid-argument", message);
}

/** A Dockerfile outside of the folder, or from stdin, is sent along under a name of ours. */
async function locate(
  folder: string,
  dockerfile: string | undefined,
  stdin: Readable,
): Promise<{ readonly name: string; readonly extra: Extra | undefined }> {
  if (dockerfile === undefined) {
    for (const name of ["Dockerfile", "dockerfile"]) {
      if ((await stat(join(folder, name)).catch(() => undefined)) !== undefined) {
        return { name, extra: undefined };
      }
    }
    throw failed(
      `unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat ${join(resolve(folder), "Dockerfile")}: no such file or directory`,
    );
  }
  if (dockerfile === "-") {
    const content = await readAllBytes(stdin);
    return { name: OUTSIDE_NAME, extra: { name: OUTSIDE_NAME, content } };
  }
  const inside = relative(resolve(folder), resolve(dockerfile));
  const content = await readFile(dockerfile).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
    throw failed(
      `unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat ${resolve(dockerfile)}: no such file or directory`,
    );
  });
  if (inside !== ".." && !inside.startsWith(`..${sep}`)) return { name: inside, extra: undefined };
  return { name: OUTSIDE_NAME, extra: { name: OUTSIDE_NAME, content } };
}

/** The Dockerfile and the rules themselves are always sent: the engine needs them. */
async function readRules(folder: string, dockerfile: string): Promise<IgnoreRules> {
  const text = await readFile(join(folder, ".dockerignore"), "utf8").catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return "";
      throw error;
    },
  );
  const lines = text.replace(/^\uFEFF/, "").split("\n");
  if (lines.every((line) => line.trim() === "")) return new IgnoreRules([]);
  return new IgnoreRules([...lines, "!.dockerignore", `!${dockerfile}`]);
}

async function addAll(
  archive: Pack,
  folder: string,
  rules: IgnoreRules,
  extra: Extra | undefined,
): Promise<void> {
  if (extra !== undefined) {
    await entry(archive, { name: extra.name, mode: 0o600 }, extra.content);
  }
  await addFolder({ archive, rules, firstNames: new Map() }, folder, "");
}

interface Packing {
  readonly archive: Pack;
  readonly rules: IgnoreRules;
  /** Of files with several names: device and inode → the name under which it was packed. */
  readonly firstNames: Map<string, string>;
}

async function addFolder(packing: Packing, folder: string, below: string): Promise<void> {
  for (const child of (await readdir(folder)).toSorted()) {
    const name = `${below}${child}`;
    const path = join(folder, child);
    const found = await lstat(path);
    const ignored = packing.rules.ignores(name);
    if (!ignored) await addOne(packing, path, name);
    // Something below may be taken in again.
    const look = found.isDirectory() && (!ignored || !packing.rules.onlyExcludes);
    if (look) await addFolder(packing, path, `${name}/`);
  }
}

/** Owners are root's: the builder gives files their owners. */
async function addOne({ archive, firstNames }: Packing, path: string, name: string): Promise<void> {
  const found = await lstat(path);
  const header = { name, mode: found.mode & 0o7777, uid: 0, gid: 0, mtime: found.mtime };
  if (found.isDirectory()) {
    return entry(archive, { ...header, name: `${name}/`, type: "directory" });
  }
  if (found.isSymbolicLink()) {
    return entry(archive, { ...header, type: "symlink", linkname: await readlink(path) });
  }
  // Sockets, pipes and devices are not part of a context.
  if (!found.isFile()) return;
  const inode = `${found.dev}:${found.ino}`;
  const first = found.nlink > 1 ? firstNames.get(inode) : undefined;
  if (first !== undefined) return entry(archive, { ...header, type: "link", linkname: first });
  if (found.nlink > 1) firstNames.set(inode, name);
  if (found.size === 0) return entry(archive, header);
  const into = archive.entry({ ...header, size: found.size }) as unknown as Writable;
  // A file that grows meanwhile is packed as long as it was.
  await pipeline(createReadStream(path, { end: found.size - 1 }), into);
}

function entry(
  archive: Pack,
  header: Partial<Header> & Pick<Header, "name">,
  content: Uint8Array = new Uint8Array(),
): Promise<void> {
  return new Promise((done, reject) => {
    archive.entry({ ...header, size: content.length }, Buffer.from(content), (error) =>
      error ? reject(error) : done(),
    );
  });
}

async function readAllBytes(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

const TAR_MAGIC_AT = 257;
const PACKED: readonly (readonly number[])[] = [
  [0x1f, 0x8b],
  [0x28, 0xb5, 0x2f, 0xfd],
  [0xfd, 0x37, 0x7a, 0x58, 0x5a],
  [0x42, 0x5a, 0x68],
];

/** What stdin brings is an archive, or a Dockerfile alone. */
export async function packStdin(stdin: Readable): Promise<PackedContext> {
  const iterator = (stdin as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  const held: Buffer[] = [];
  let size = 0;
  while (size < TAR_MAGIC_AT + 5) {
    const next = await iterator.next();
    if (next.done === true) break;
    held.push(next.value);
    size += next.value.length;
  }
  const head = Buffer.concat(held);
  const isTar = head.subarray(TAR_MAGIC_AT, TAR_MAGIC_AT + 5).toString("latin1") === "ustar";
  const isPacked = PACKED.some((magic) => magic.every((byte, at) => head[at] === byte));
  async function* all(): AsyncGenerator<Buffer> {
    yield* held;
    yield* { [Symbol.asyncIterator]: () => iterator };
  }
  const body = Readable.from(all(), { objectMode: false });
  if (isTar || isPacked) return { archive: body, dockerfile: "" };
  const archive = pack();
  archive.entry({ name: "Dockerfile", mode: 0o600 }, await readAllBytes(body));
  archive.finalize();
  return {
    archive: Readable.from(archive as AsyncIterable<Uint8Array>, { objectMode: false }),
    dockerfile: "",
  };
}
