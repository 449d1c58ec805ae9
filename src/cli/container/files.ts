/** `cp`, `diff`, `export`, `commit`: a container's files. */

import { lstat, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { type Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { EngineError, isErrorCode } from "#base/error.ts";
import type { ContainerPathStat, FilesystemChange } from "#wire/docker/containers.ts";
import type { Command, CommandContext } from "../command.ts";
import { checkReference } from "../image/pull.ts";
import { checkOutput, writeWhole } from "../open-file.ts";
import { humanSize } from "../output/units.ts";

/** "name:path"; undefined when it is a path of this machine. */
function containerPath(text: string): readonly [name: string, path: string] | undefined {
  const colon = text.indexOf(":");
  if (colon <= 0 || text.startsWith("/") || text.startsWith(".")) return undefined;
  const path = text.slice(colon + 1);
  return [text.slice(0, colon), path === "" ? "/" : path];
}

async function copy(context: CommandContext): Promise<number> {
  const [source = "", target = ""] = context.args;
  const from = containerPath(source);
  const to = containerPath(target);
  if (from !== undefined && to !== undefined) {
    throw new EngineError("invalid-argument", "copying between containers is not supported");
  }
  if (from === undefined && to === undefined) {
    throw new EngineError("invalid-argument", "must specify at least one container source");
  }
  const bytes = from !== undefined ? await copyOut(context, from, target) : 0;
  const sent = to !== undefined ? await copyIn(context, source, to) : bytes;
  const quiet = context.flags.has("quiet")
    ? context.flags.bool("quiet")
    : context.stdout.isTTY !== true;
  if (!quiet && source !== "-" && target !== "-") {
    context.stderr.write(`Successfully copied ${humanSize(sent)} to ${target}\n`);
  }
  return 0;
}

/** What a path of a container is; undefined when there is nothing. */
async function statIn(
  { client }: CommandContext,
  name: string,
  path: string,
): Promise<ContainerPathStat | undefined> {
  try {
    const query = { path };
    const response = await client.stream("HEAD", `/containers/${name}/archive`, { query });
    response.resume();
    const header = String(response.headers["x-docker-container-path-stat"] ?? "");
    return JSON.parse(Buffer.from(header, "base64").toString("utf8")) as ContainerPathStat;
  } catch (error) {
    // The answer to HEAD has no words: whether the container is there, the copy itself will say.
    if (isErrorCode(error, "not-found")) return undefined;
    throw error;
  }
}

/** Go's os.ModeDir and os.ModeSymlink. */
const MODE_DIR = 2 ** 31;
const MODE_LINK = 2 ** 27;
const isDir = (found: ContainerPathStat) => found.mode >= MODE_DIR;
const isLink = (found: ContainerPathStat) => (found.mode % MODE_DIR) / MODE_LINK >= 1;

async function copyOut(
  context: CommandContext,
  [name, path]: readonly [string, string],
  target: string,
): Promise<number> {
  const { client, flags, stdout } = context;
  let wanted = path;
  if (flags.bool("follow-link")) {
    const found = await statIn(context, name, path);
    if (found !== undefined && isLink(found)) wanted = join(dirname(path), found.linkTarget);
    if (found?.linkTarget.startsWith("/")) wanted = found.linkTarget;
  }
  const query = { path: wanted };
  const archive = await client.stream("GET", `/containers/${name}/archive`, { query });
  if (target === "-") {
    await pipeline(archive, stdout, { end: false });
    return 0;
  }
  const header = String(archive.headers["x-docker-container-path-stat"] ?? "");
  const found = JSON.parse(Buffer.from(header, "base64").toString("utf8")) as ContainerPathStat;
  const place = await placeFor(target, isDir(found), path.endsWith("/."));
  const { unpackInto } = await import("./local-archive.ts");
  return unpackInto(archive, place.folder, {
    rename: place.name === undefined ? undefined : [found.name, place.name],
    keepOwner: flags.bool("archive"),
  }).catch((error: unknown) => {
    archive.destroy();
    throw error;
  });
}

/** Where on this machine the copy goes, and under which name, as `cp -a` has it. */
async function placeFor(target: string, sourceIsDir: boolean, contentOnly: boolean) {
  const found = await stat(target).catch(() => undefined);
  if (found?.isDirectory() === true) {
    // "SRC/." means what is in the folder: its own name goes away.
    return contentOnly
      ? { folder: dirname(join(target, "x")), name: "." }
      : { folder: target, name: undefined };
  }
  if (found !== undefined && sourceIsDir) {
    throw new EngineError("invalid-argument", "cannot copy directory");
  }
  if (found === undefined && target.endsWith("/") && !sourceIsDir) {
    throw new EngineError("not-found", "no such directory");
  }
  const folder = dirname(target.replace(/\/+$/, ""));
  if (!(await stat(folder).catch(() => undefined))?.isDirectory()) {
    throw new EngineError("not-found", `invalid output path: directory "${folder}" does not exist`);
  }
  return { folder, name: basename(target) };
}

async function copyIn(
  context: CommandContext,
  source: string,
  [name, path]: readonly [string, string],
): Promise<number> {
  const { client, flags, stdin } = context;
  let target = path;
  const found = await statIn(context, name, path);
  const linked = found !== undefined && isLink(found) ? found.linkTarget : undefined;
  if (linked !== undefined) {
    target = linked.startsWith("/") ? linked : join(dirname(path), linked);
  }
  const at = linked === undefined ? found : await statIn(context, name, target);
  const put = async (raw: Readable, folder: string) => {
    const query = {
      path: folder,
      noOverwriteDirNonDir: true,
      copyUIDGID: flags.bool("archive"),
    };
    const headers = { "Content-Type": "application/x-tar" };
    const url = `/containers/${name}/archive`;
    (await client.stream("PUT", url, { raw, query, headers })).resume();
  };
  if (source === "-") {
    await put(stdin, target);
    return 0;
  }
  const own = await (flags.bool("follow-link") ? stat : lstat)(source).catch((error: unknown) => {
    throw new EngineError("not-found", `lstat ${resolve(source)}: no such file or directory`, {
      cause: error,
    });
  });
  const intoFolder = at !== undefined && isDir(at);
  if (at !== undefined && !intoFolder && own.isDirectory()) {
    throw new EngineError("invalid-argument", "cannot copy directory");
  }
  if (at === undefined && target.endsWith("/") && !own.isDirectory()) {
    throw new EngineError("not-found", "no such directory");
  }
  const contentOnly = /(^|\/)\.$/.test(source) && intoFolder;
  const asName = contentOnly ? "." : intoFolder ? basename(source) : basename(target);
  const folder = intoFolder ? target : dirname(target);
  let bytes = 0;
  // A listener would set the bytes free before the request is there to take them.
  const counted = new Transform({
    transform: (chunk: Buffer, _encoding, done) => {
      bytes += chunk.length;
      done(null, chunk);
    },
  });
  const follow = flags.bool("follow-link");
  const { packPath } = await import("./local-archive.ts");
  const packed = packPath(source, asName, follow);
  // When the archive breaks off, the request must too: half of it would be taken for all.
  void pipeline(packed, counted).catch(() => undefined);
  await put(counted, folder);
  return bytes;
}

const KINDS = ["C", "A", "D"];

async function diff({ args, client, stdout }: CommandContext): Promise<number> {
  const path = `/containers/${args[0] ?? ""}/changes`;
  const changes = (await client.get<readonly FilesystemChange[] | null>(path)) ?? [];
  for (const { Kind, Path } of changes) stdout.write(`${KINDS[Kind] ?? "?"} ${Path}\n`);
  return 0;
}

async function exportTree({ args, client, flags, stdout }: CommandContext): Promise<number> {
  const path = flags.string("output");
  if (path === undefined && stdout.isTTY === true) {
    throw new EngineError(
      "invalid-argument",
      "cowardly refusing to save to a terminal. Use the -o flag or redirect",
    );
  }
  if (path !== undefined) await checkOutput(path, "export container");
  const archive = await client.stream("GET", `/containers/${args[0] ?? ""}/export`);
  if (path === undefined) await pipeline(archive, stdout, { end: false });
  else await writeWhole(path, archive);
  return 0;
}

async function commit({ args, client, flags, stdout }: CommandContext): Promise<number> {
  const [container, reference = ""] = args;
  if (reference !== "") checkReference(reference);
  const [repo = "", tag] = reference.split(/:(?=[^/]*$)/);
  const { Id } = await client.post<{ Id: string }>("/commit", undefined, {
    query: {
      container,
      repo,
      tag,
      author: flags.string("author"),
      comment: flags.string("message"),
      changes: flags.list("change"),
      ...(flags.has("pause") && !flags.bool("pause") ? { pause: "0" } : {}),
    },
  });
  stdout.write(`${Id}\n`);
  return 0;
}

export const FILE_COMMANDS: readonly Command[] = [
  {
    path: ["container", "cp"],
    shortcuts: [["cp"]],
    usage:
      "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\tskep container cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    summary: "Copy files between a container and this machine",
    flags: [
      { name: "archive", short: "a", kind: "bool", usage: "Keep owners and groups" },
      { name: "follow-link", short: "L", kind: "bool", usage: "Follow a link in SRC_PATH" },
      { name: "quiet", short: "q", kind: "bool", usage: "Do not tell how much was copied" },
    ],
    minArgs: 2,
    maxArgs: 2,
    run: copy,
  },
  {
    path: ["container", "diff"],
    shortcuts: [["diff"]],
    usage: "CONTAINER",
    summary: "Show what has changed in a container's files",
    flags: [],
    minArgs: 1,
    maxArgs: 1,
    run: diff,
  },
  {
    path: ["container", "export"],
    shortcuts: [["export"]],
    usage: "[OPTIONS] CONTAINER",
    summary: "Write a container's files as a tar archive",
    flags: [
      { name: "output", short: "o", kind: "string", usage: "Write to a file instead of STDOUT" },
    ],
    minArgs: 1,
    maxArgs: 1,
    run: exportTree,
  },
  {
    path: ["container", "commit"],
    shortcuts: [["commit"]],
    usage: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    summary: "Make an image of a container's changes",
    flags: [
      { name: "author", short: "a", kind: "string", usage: "Who made it" },
      { name: "change", short: "c", kind: "list", usage: "Apply a Dockerfile instruction" },
      { name: "message", short: "m", kind: "string", usage: "Commit message" },
      { name: "pause", short: "p", kind: "bool", usage: "Pause it meanwhile", defaultText: "true" },
    ],
    minArgs: 1,
    maxArgs: 2,
    run: commit,
  },
];
