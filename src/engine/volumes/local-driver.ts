/**
 * The `local` driver: a directory per volume. Options type, device and o make it a mount instead of a
 * plain directory, mounted when its first user comes and unmounted when the last one goes.
 */

import { execFile } from "node:child_process";
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { EngineError, messageOf } from "#base/error.ts";
import { must } from "#base/invariant.ts";
import type { VolumeDriver } from "./driver.ts";

const run = promisify(execFile);

export const LOCAL = "local";
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,}$/;
const OPTIONS = new Set(["type", "device", "o", "size"]);

/** `folderOf` names the directory of a volume; what lies beside `_data` in it is the caller's. */
export class LocalDriver implements VolumeDriver {
  readonly name = LOCAL;
  readonly #folderOf: (name: string) => string;
  /** The options of each volume. */
  readonly #volumes = new Map<string, Readonly<Record<string, string>>>();

  constructor(folderOf: (name: string) => string) {
    this.#folderOf = folderOf;
  }

  /** A volume that an earlier run made. */
  adopt(name: string, options: Readonly<Record<string, string>>): void {
    this.#volumes.set(name, options);
  }

  /** Throws if no volume can be like that. */
  check(name: string, options: Readonly<Record<string, string>>): void {
    if (!NAME.test(name)) {
      throw new EngineError(
        "invalid-argument",
        `create ${name}: "${name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
      );
    }
    const unknown = Object.keys(options).find((key) => !OPTIONS.has(key));
    if (unknown !== undefined) {
      throw new EngineError("invalid-argument", `create ${name}: invalid option: "${unknown}"`);
    }
    if ("type" in options !== "device" in options) {
      const missing = "type" in options ? "device" : "type";
      throw new EngineError(
        "invalid-argument",
        `create ${name}: missing required option: "${missing}"`,
      );
    }
  }

  scope(): Promise<"local"> {
    return Promise.resolve("local");
  }

  async create(name: string, options: Readonly<Record<string, string>>): Promise<void> {
    await mkdir(this.#folderOf(name), { recursive: true, mode: 0o701 });
    await mkdir(this.data(name), { recursive: true, mode: 0o755 });
    this.adopt(name, options);
  }

  async remove(name: string): Promise<void> {
    // A mount that a crash left must not be emptied instead of the directory below it.
    if (await isMountpoint(this.data(name))) await run("umount", [this.data(name)]);
    this.#volumes.delete(name);
    await rm(this.data(name), { recursive: true, force: true });
  }

  async mount(name: string): Promise<string> {
    const options = must(this.#volumes.get(name), "a known volume is mounted");
    if (options.device !== undefined) await this.#mountDevice(name, options);
    return this.data(name);
  }

  async unmount(name: string, _userId: string, isLast: boolean): Promise<void> {
    const hasDevice = this.#volumes.get(name)?.device !== undefined;
    if (isLast && hasDevice) await run("umount", [this.data(name)]);
  }

  get(name: string) {
    const known = this.#volumes.has(name);
    return Promise.resolve(known ? { name, mountpoint: this.data(name) } : undefined);
  }

  list() {
    const names = [...this.#volumes.keys()];
    return Promise.resolve(names.map((name) => ({ name, mountpoint: this.data(name) })));
  }

  data(name: string): string {
    return join(this.#folderOf(name), "_data");
  }

  async #mountDevice(name: string, options: Readonly<Record<string, string>>): Promise<void> {
    const target = this.data(name);
    // For another container, or for one that outlived an earlier run of ours.
    if (await isMountpoint(target)) return;
    const { type = "none", device = "", o = "" } = options;
    try {
      await run("mount", ["-t", type, ...(o === "" ? [] : ["-o", o]), device, target]);
    } catch (error) {
      throw new EngineError(
        "internal",
        `error while mounting volume '${target}': failed to mount local volume: mount ${device}:${target}: ${messageOf(error)}`,
      );
    }
  }
}

async function isMountpoint(path: string): Promise<boolean> {
  const mounts = await readFile("/proc/self/mountinfo", "utf8");
  const escaped = path.replace(
    /[\s\\]/g,
    (c) => `\\${c.charCodeAt(0).toString(8).padStart(3, "0")}`,
  );
  return mounts.split("\n").some((line) => line.split(" ")[4] === escaped);
}
