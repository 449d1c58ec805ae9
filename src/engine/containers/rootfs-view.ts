/**
 * Reads a few files of a root file system that is not mounted, from the layers of its snapshot: who
 * a user is must be known before the container exists, and a mount for that alone would cost more
 * than everything else in the start. Follows symlinks inside the root and honours overlayfs'
 * whiteouts and opaque folders. Read-only; nothing outside the layers is ever opened.
 */

import { lstat, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { readXattr } from "#platform/libc.ts";
import type { Mount } from "#wire/gen/containerd/types_pb.js";

const SYMLINKS_MAX = 40;
const FILE_MAX_BYTES = 4 * 1024 * 1024;

/** Host folders of a snapshot's layers, top first; undefined for mounts that are no plain folders. */
export function layersOf(mounts: readonly Mount[]): string[] | undefined {
  const [mount, ...more] = mounts;
  if (mount === undefined || more.length > 0) return undefined;
  if (mount.type === "bind") return [mount.source];
  if (mount.type !== "overlay") return undefined;
  const option = (name: string) =>
    mount.options.find((text) => text.startsWith(`${name}=`))?.slice(name.length + 1);
  const upper = option("upperdir");
  const lower = option("lowerdir")?.split(":") ?? [];
  return upper === undefined ? lower : [upper, ...lower];
}

/** The file's text; "" when it is missing, no file, or too large to be what it claims. */
export async function readRootfsText(layers: readonly string[], path: string): Promise<string> {
  const found = await resolvePath(layers, path);
  if (found === undefined) return "";
  const status = await lstat(found);
  if (!status.isFile() || status.size > FILE_MAX_BYTES) return "";
  return await readFile(found, "utf8");
}

/** Host path of what `path` leads to in the merged view; undefined when there is nothing. */
export async function resolvePath(
  layers: readonly string[],
  path: string,
): Promise<string | undefined> {
  let pending = path.split("/").filter((part) => part !== "" && part !== ".");
  let walked: string[] = [];
  let candidates = layers;
  let links = 0;
  while (pending.length > 0) {
    const [part = "", ...rest] = pending;
    pending = rest;
    if (part === "..") {
      // Up again from the root: the layers that are visible there differ from those down here.
      pending = [...walked.slice(0, -1), ...rest];
      walked = [];
      candidates = layers;
      continue;
    }
    const step = await lookUp(candidates, part);
    if (step === undefined) return undefined;
    if (step.link !== undefined) {
      links += 1;
      if (links > SYMLINKS_MAX) return undefined;
      const target = step.link.split("/").filter((name) => name !== "" && name !== ".");
      const from = step.link.startsWith("/") ? [] : walked;
      pending = [...from, ...target, ...rest];
      walked = [];
      candidates = layers;
      continue;
    }
    walked.push(part);
    candidates = step.paths;
  }
  return candidates[0];
}

interface Step {
  /** Where the name is, top first: several for a folder that several layers have. */
  readonly paths: readonly string[];
  readonly link?: string;
}

async function lookUp(folders: readonly string[], name: string): Promise<Step | undefined> {
  const paths: string[] = [];
  for (const folder of folders) {
    const path = join(folder, name);
    const status = await lstat(path).catch(() => undefined);
    if (status === undefined) {
      if (isOpaque(folder)) break;
      continue;
    }
    const whiteout = status.isCharacterDevice() && status.rdev === 0;
    if (whiteout) break;
    if (status.isSymbolicLink() && paths.length === 0) {
      return { paths: [path], link: await readlink(path) };
    }
    // Below a folder, a file of a lower layer is hidden; below a file, everything is.
    if (!status.isDirectory()) {
      if (paths.length === 0) paths.push(path);
      break;
    }
    paths.push(path);
    if (isOpaque(path) || isOpaque(folder)) break;
  }
  return paths.length === 0 ? undefined : { paths };
}

function isOpaque(folder: string): boolean {
  return readXattr(folder, "trusted.overlay.opaque")?.[0] === 0x79;
}
