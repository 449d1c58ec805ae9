/**
 * buildah as a process: with its own storage under our state folder, in namespaces of its own, so
 * that killing the one process that we know ends the whole build (its commands, its mounts), whether
 * we do it or the kernel does because we died. What the host configured for other users of these
 * tools has no say here.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:fs";
import { access, mkdir, rm, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import type { Readable } from "node:stream";
import { EngineError, messageOf } from "#base/error.ts";

export const NOT_INSTALLED =
  "building images needs buildah, which is not installed on this host: install it (apt install buildah) and try again; nothing needs to be restarted";

const PATH = [
  process.env["PATH"] ?? "",
  "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
].join(delimiter);

/** Kept of what a run wrote to standard error, for the reason of a failure. */
const TAIL_LINES = 40;
const LINE_MAX_CHARACTERS = 64 * 1024;
const OUTPUT_MAX_CHARACTERS = 64 * 1024 * 1024;

export interface BuildahFolders {
  /** Under the data root: layers, images, caches. */
  readonly data: string;
  /** Under the exec root: locks and mounts. */
  readonly run: string;
}

export interface BuildahRun {
  readonly args: readonly string[];
  /** Folder for what is temporary; the caller removes it. */
  readonly temporary: string;
  /** A process in the network namespace that commands shall run in. */
  readonly netnsPid?: number | undefined;
  /** containers-registries.conf(5); absent = none is known. */
  readonly registriesConf?: string | undefined;
  /** Reading goes on when the promise that it returns, if any, resolves. */
  readonly onLine?: ((line: string) => Promise<void> | undefined) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface BuildahResult {
  /** Null when it was killed. */
  readonly exitCode: number | null;
  readonly stdout: string;
  /** The last lines of standard error. */
  readonly errors: readonly string[];
}

/** Where the namespace of `netnsPid` is found by the builder. */
export function netnsPath(temporary: string): string {
  return join(temporary, "netns");
}

/** Mounts what is ours over what would be the host's, then becomes the builder in a process namespace. */
const WRAPPER = [
  'mkdir -p /var/lib/containers/cache && mount --bind "$1" /var/lib/containers/cache || exit 125',
  '[ -z "$2" ] || { : > "$3" && mount --bind "$2" "$3"; } || exit 125',
  "shift 3",
  'exec unshare --pid --fork --kill-child --mount-proc "$@"',
].join("\n");

export class Buildah {
  readonly #folders: BuildahFolders;
  #driver: Promise<string> | undefined;

  constructor(folders: BuildahFolders) {
    this.#folders = folders;
  }

  /** Asked anew each time: it may be installed while we run. */
  async installed(): Promise<boolean> {
    for (const folder of PATH.split(delimiter)) {
      if (folder === "") continue;
      const found = await access(join(folder, "buildah"), constants.X_OK).then(
        () => true,
        () => false,
      );
      if (found) return true;
    }
    return false;
  }

  get storage(): string {
    return join(this.#folders.data, "storage");
  }

  async run(run: BuildahRun): Promise<BuildahResult> {
    this.#driver ??= this.#chooseDriver(run.temporary);
    const driver = await this.#driver.catch((error: unknown) => {
      this.#driver = undefined;
      throw error;
    });
    return this.#start(run, driver);
  }

  /** The folder that layers and images are listed in: "overlay-layers". */
  async listing(kind: "layers" | "images"): Promise<string> {
    const driver = await (this.#driver ?? Promise.resolve("overlay"));
    return join(this.storage, `${driver}-${kind}`, `${kind}.json`);
  }

  /** Overlays where the kernel can do them on this file system, plain copies elsewhere. */
  async #chooseDriver(temporary: string): Promise<string> {
    const reasons: string[] = [];
    for (const driver of ["overlay", "vfs"]) {
      const { exitCode, errors } = await this.#start({ args: ["info"], temporary }, driver);
      if (exitCode === 0) return driver;
      reasons.push(`${driver}: ${errors.at(-1) ?? "no reason given"}`);
    }
    throw new EngineError(
      "failed-precondition",
      `buildah cannot use ${this.storage}: ${reasons.join("; ")}`,
    );
  }

  async #start(run: BuildahRun, driver: string): Promise<BuildahResult> {
    const { data, run: runRoot } = this.#folders;
    const { temporary, netnsPid } = run;
    const files = await this.#configure(run, driver);
    const cache = join(data, "cache");
    for (const folder of [this.storage, runRoot, cache]) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
    }
    const netns = netnsPid === undefined ? "" : `/proc/${netnsPid}/ns/net`;
    const builder = [
      "buildah",
      `--root=${this.storage}`,
      `--runroot=${runRoot}`,
      `--storage-driver=${driver}`,
      `--registries-conf=${files.registries}`,
      `--registries-conf-dir=${files.folder}`,
      `--short-name-alias-conf=${join(files.folder, "aliases.conf")}`,
      ...run.args,
    ];
    const mounts = [cache, netns, netnsPath(temporary)];
    const wrapped = ["unshare", "--mount", "sh", "-c", WRAPPER, "skep-build", ...mounts];
    const child = spawn("setpriv", ["--pdeathsig", "KILL", ...wrapped, ...builder], {
      cwd: temporary,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH,
        LC_ALL: "C",
        HOME: files.folder,
        TMPDIR: temporary,
        CONTAINERS_CONF: files.containers,
        CONTAINERS_STORAGE_CONF: files.storage,
        CONTAINERS_REGISTRIES_CONF: files.registries,
        REGISTRY_AUTH_FILE: files.auth,
      },
    });
    return follow(child, run);
  }

  /** Files of configuration that say nothing, so that nobody else's are read. */
  async #configure({ temporary, registriesConf }: BuildahRun, driver: string) {
    const folder = join(temporary, "etc");
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const file = async (name: string, text: string) => {
      const path = join(folder, name);
      await writeFile(path, text);
      return path;
    };
    return {
      folder: join(folder, "registries.d"),
      registries: await file("registries", registriesConf ?? ""),
      containers: await file("containers.conf", ""),
      storage: await file("storage.conf", `[storage]\ndriver = "${driver}"\n`),
      auth: await file("auth.json", "{}"),
    };
  }

  /** For `--signature-policy`: images come from our own store. */
  static async writePolicy(path: string): Promise<void> {
    await writeFile(path, '{"default":[{"type":"insecureAcceptAnything"}]}');
  }

  /** Containers of builds that were killed. Not while one runs. */
  async removeLeftovers(temporary: string): Promise<void> {
    await this.run({ args: ["rm", "--all"], temporary });
  }

  /** Forgets everything; not while a build runs. */
  async forget(): Promise<void> {
    await rm(this.storage, { recursive: true, force: true });
  }
}

async function follow(child: ChildProcess, run: BuildahRun): Promise<BuildahResult> {
  const { onLine, signal } = run;
  const errors: string[] = [];
  let stdout = "";
  const collect = (line: string) => {
    if (stdout.length < OUTPUT_MAX_CHARACTERS) stdout += `${line}\n`;
    return undefined;
  };
  const stop = () => child.kill("SIGKILL");
  signal?.addEventListener("abort", stop, { once: true });
  if (signal?.aborted) stop();
  try {
    const ended = exitOf(child);
    await Promise.all([
      eachLine(child.stdout, onLine ?? collect),
      eachLine(child.stderr, (line) => {
        errors.push(line);
        if (errors.length > TAIL_LINES) errors.shift();
        return isReason(line) ? undefined : onLine?.(line);
      }),
      ended,
    ]);
    return { exitCode: await ended, stdout, errors };
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}

/** The last line of a failed run, which is told as its error. */
function isReason(line: string): boolean {
  return /^(?:Error: |error building )/.test(line);
}

function exitOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.on("error", (error) => {
      reject(new EngineError("failed-precondition", `cannot start buildah: ${messageOf(error)}`));
    });
    child.on("exit", resolve);
  });
}

/** Lines without their ends; one that never ends comes in pieces. */
async function eachLine(
  stream: Readable | null,
  take: (line: string) => Promise<void> | undefined,
): Promise<void> {
  if (stream === null) return;
  let rest = "";
  stream.setEncoding("utf8");
  for await (const chunk of stream as AsyncIterable<string>) {
    rest += chunk;
    for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
      const line = rest.slice(0, end);
      rest = rest.slice(end + 1);
      await take(line);
    }
    if (rest.length <= LINE_MAX_CHARACTERS) continue;
    await take(rest);
    rest = "";
  }
  if (rest !== "") await take(rest);
}
