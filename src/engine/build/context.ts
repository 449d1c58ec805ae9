/**
 * The context of a build on disk: unpacked from the archive that the client sends, fetched from a
 * URL, or cloned by git. Nothing of it is held in memory. Names in an archive, and links to the
 * Dockerfile, are resolved inside the context.
 */

import { spawn } from "node:child_process";
import { closeSync, constants } from "node:fs";
import { mkdir, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { EngineError, messageOf } from "#base/error.ts";
import { SystemError } from "#platform/libc.ts";
import { runCommand } from "#platform/net/command.ts";
import { peek } from "#platform/peek.ts";
import { openInRoot, openRoot, pathInRoot, using } from "#platform/rooted.ts";
import { compressionOf } from "#wire/compression.ts";
import { extractTree } from "../files/extract.ts";
import type { BuildRequest } from "./request.ts";

export interface BuildContext {
  readonly folder: string;
  /** Absolute, inside the folder. */
  readonly dockerfile: string;
  readonly dockerfileText: string;
}

const DOCKERFILE_MAX_BYTES = 4 * 1024 * 1024;
const GIT_TIMEOUT_MS = 10 * 60_000;
const TAR_MAGIC_AT = 257;
const HEAD_BYTES = 512;

/** Lays the context out in `folder`, which is made. */
export async function openContext(request: BuildRequest, folder: string): Promise<BuildContext> {
  await mkdir(folder, { mode: 0o700 });
  const { remote } = request;
  let inside = folder;
  let dockerfile = request.dockerfile;
  if (remote === "") await unpack(request.archive, folder);
  else {
    request.archive.resume();
    if (isGit(remote)) inside = await clone(remote, folder);
    else if (await download(remote, folder, request.signal)) dockerfile = "Dockerfile";
  }
  return findDockerfile(inside, dockerfile);
}

function isGit(remote: string): boolean {
  return (
    /^(?:git:\/\/|git@|ssh:\/\/|github\.com\/)/.test(remote) ||
    /^https?:\/\/.*\.git(?:#.*)?$/.test(remote)
  );
}

/** The archive's entries belong to root, as what is copied from a context does. */
async function unpack(archive: Readable, folder: string): Promise<void> {
  const plain = await decompressed(archive);
  await using(openRoot(folder), (root) =>
    extractTree(plain, { root, path: "/", keepKinds: false, owner: { uid: 0, gid: 0 } }),
  );
}

const TAR_BLOCK_BYTES = 512;

/**
 * Docker's command line ends an archive that it has put a Dockerfile into (`-f -`) in the middle of the
 * last entry's block, which Go's reader lets pass. Whether the client was cut off says HTTP.
 */
async function* wholeBlocks(archive: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let size = 0;
  for await (const chunk of archive) {
    size += chunk.length;
    yield chunk;
  }
  const rest = size % TAR_BLOCK_BYTES;
  if (rest > 0) yield new Uint8Array(TAR_BLOCK_BYTES - rest);
}

const DECOMPRESSORS: Readonly<Record<string, readonly [string, ...string[]]>> = {
  gzip: ["gzip", "-dc"],
  bzip2: ["bzip2", "-dc"],
  xz: ["xz", "-dc"],
  zstd: ["zstd", "-dc"],
};

/** Undone by a program of its own: another core than ours. */
async function decompressed(source: Readable): Promise<Readable> {
  const { head, body } = await peek(source, HEAD_BYTES);
  const [program, ...args] = DECOMPRESSORS[compressionOf(head)] ?? [];
  if (program === undefined) return Readable.from(wholeBlocks(body), { objectMode: false });
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "ignore"] });
  child.on("error", (error) => {
    const reason = `cannot unpack a context of ${program}: ${messageOf(error)}`;
    child.stdout.destroy(new EngineError("failed-precondition", reason));
  });
  // A broken pipe is what is damaged: the archive is cut short, and that is what is told.
  pipeline(body, child.stdin).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== "EPIPE") child.stdout.destroy(error as Error);
  });
  child.stdout.on("close", () => child.kill());
  return child.stdout;
}

/** True when what came is a Dockerfile alone, and no archive. */
async function download(url: string, folder: string, signal: AbortSignal): Promise<boolean> {
  const unavailable = (reason: string) =>
    new EngineError("invalid-argument", `error downloading remote context ${url}: ${reason}`);
  if (!/^https?:\/\//.test(url)) throw unavailable("not a URL of http, https or git");
  const response = await fetch(url, { signal }).catch((error: unknown) => {
    throw unavailable(messageOf(error));
  });
  if (!response.ok || response.body === null) throw unavailable(`HTTP status ${response.status}`);
  const { head, body } = await peek(response.body, HEAD_BYTES);
  const isTar = head.subarray(TAR_MAGIC_AT, TAR_MAGIC_AT + 5).toString("latin1") === "ustar";
  if (isTar || compressionOf(head) !== "none") {
    await unpack(Readable.from(body, { objectMode: false }), folder);
    return false;
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > DOCKERFILE_MAX_BYTES) throw unavailable("neither an archive nor a Dockerfile");
    chunks.push(chunk);
  }
  await writeFile(join(folder, "Dockerfile"), Buffer.concat(chunks));
  return true;
}

/** "URL#REF:FOLDER" into `folder`; returns the folder that is meant. */
async function clone(remote: string, folder: string): Promise<string> {
  const hash = remote.indexOf("#");
  const fragment = hash < 0 ? "" : remote.slice(hash + 1);
  const bare = hash < 0 ? remote : remote.slice(0, hash);
  const url = bare.startsWith("github.com/") ? `https://${bare}` : bare;
  const [ref = "", below = ""] = fragment.split(":", 2);
  if (ref.startsWith("-")) throw new EngineError("invalid-argument", `invalid refspec: ${ref}`);
  const git = (...args: string[]) =>
    runCommand("git", ["-c", "credential.helper=", "-C", folder, ...args], {
      timeoutMs: GIT_TIMEOUT_MS,
    });
  try {
    await git("init", "--quiet");
    await git("remote", "add", "origin", url);
    await git("fetch", "--quiet", "--depth", "1", "origin", ref === "" ? "HEAD" : ref);
    await git("checkout", "--quiet", "FETCH_HEAD");
    await git("submodule", "update", "--quiet", "--init", "--recursive", "--depth", "1");
  } catch (error) {
    const reason = `unable to prepare context: cannot clone ${url}: ${messageOf(error)}`;
    throw new EngineError("invalid-argument", reason, { cause: error });
  }
  await rm(join(folder, ".git"), { recursive: true, force: true });
  if (below === "") return folder;
  return inFolder(
    folder,
    below,
    constants.O_RDONLY | constants.O_DIRECTORY,
    () => new EngineError("invalid-argument", `${below} is not a folder of the repository`),
  ).path;
}

/** A path below the folder, with every link on the way followed inside it. */
function inFolder(
  folder: string,
  path: string,
  flags: number,
  missing: () => EngineError,
): { readonly path: string } {
  const root = openRoot(folder);
  try {
    const found = openInRoot(root, path, flags);
    try {
      return { path: join(folder, pathInRoot(root, found)) };
    } finally {
      closeSync(found);
    }
  } catch (error) {
    if (error instanceof SystemError) throw missing();
    throw error;
  } finally {
    closeSync(root);
  }
}

async function findDockerfile(folder: string, name: string): Promise<BuildContext> {
  const wanted = name === "" ? "Dockerfile" : name;
  const outside = /^\.\.(?:\/|$)/.test(join(wanted)) && !wanted.startsWith("/");
  if (outside) {
    const reason = `forbidden path outside the build context: ${wanted} ()`;
    throw new EngineError("invalid-argument", reason);
  }
  const missing = () =>
    new EngineError("invalid-argument", `Cannot locate specified Dockerfile: ${wanted}`);
  if (name === "") await preferLowerCase(folder);
  const { path } = inFolder(folder, wanted, constants.O_RDONLY | constants.O_NONBLOCK, missing);
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const status = await file.stat();
    if (!status.isFile()) throw missing();
    if (status.size > DOCKERFILE_MAX_BYTES) {
      throw new EngineError("invalid-argument", `the Dockerfile (${wanted}) is too large`);
    }
    if (status.size === 0) {
      throw new EngineError("invalid-argument", `the Dockerfile (${wanted}) cannot be empty`);
    }
    return { folder, dockerfile: path, dockerfileText: await readFile(file, "utf8") };
  } finally {
    await file.close();
  }
}

/** "dockerfile" is taken when there is no "Dockerfile" and none was named. */
async function preferLowerCase(folder: string): Promise<void> {
  const [usual, lower] = [join(folder, "Dockerfile"), join(folder, "dockerfile")];
  const absent = await readFile(usual).then(
    () => false,
    (error: NodeJS.ErrnoException) => error.code === "ENOENT",
  );
  if (absent) await rename(lower, usual).catch(() => undefined);
}
