/** The context of a build as an archive: a folder without what it ignores, or what stdin brings. */

import { lstat, readdir, readFile, stat } from "node:fs/promises";
import { join, relative, resolve, sep } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { type Pack, pack } from "tar-stream";
import { EngineError } from "#base/error.ts";
import { peek } from "#platform/peek.ts";
import { compressionOf } from "#wire/compression.ts";
import { type Packing, packEntry, packFile } from "../pack-entry.ts";
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
    const content = await buffer(stdin);
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
    await packEntry(archive, { name: extra.name, mode: 0o600 }, extra.content);
  }
  await addFolder({ archive, rules, firstNames: new Map() }, folder, "");
}

interface FilteredPacking extends Packing {
  readonly rules: IgnoreRules;
}

async function addFolder(packing: FilteredPacking, folder: string, below: string): Promise<void> {
  for (const child of (await readdir(folder)).toSorted()) {
    const name = `${below}${child}`;
    const path = join(folder, child);
    const found = await lstat(path);
    const ignored = packing.rules.ignores(name);
    // Owners are root's: the builder gives files their owners.
    if (!ignored) await packFile(packing, { path, name, found, uid: 0, gid: 0 });
    // Something below may be taken in again.
    const look = found.isDirectory() && (!ignored || !packing.rules.onlyExcludes);
    if (look) await addFolder(packing, path, `${name}/`);
  }
}

const TAR_MAGIC_AT = 257;
/** What stdin brings is an archive, or a Dockerfile alone. */
export async function packStdin(stdin: Readable): Promise<PackedContext> {
  const { head, body: bytes } = await peek(stdin, TAR_MAGIC_AT + 5);
  const isTar = head.subarray(TAR_MAGIC_AT, TAR_MAGIC_AT + 5).toString("latin1") === "ustar";
  const isPacked = compressionOf(head) !== "none";
  const body = Readable.from(bytes, { objectMode: false });
  if (isTar || isPacked) return { archive: body, dockerfile: "" };
  const archive = pack();
  archive.entry({ name: "Dockerfile", mode: 0o600 }, await buffer(body));
  archive.finalize();
  return {
    archive: Readable.from(archive as AsyncIterable<Uint8Array>, { objectMode: false }),
    dockerfile: "",
  };
}
