/**
 * The `local` volume driver: a directory per volume under the data root, with its description beside
 * it, written before the volume is announced. Options type, device and o make it a mount instead of
 * a plain directory, mounted when its first user comes and unmounted when the last one goes.
 *
 * Invariants: a volume with users is not removed; users are containers, told by the container service
 * again after a restart. A directory without a description is a half-made volume and is removed.
 */

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { EngineError, messageOf } from "#base/error.ts";
import { newHexId } from "#base/ids.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import { KeyedLock } from "#platform/async.ts";
import type { VolumeInspect } from "#wire/docker/volumes.ts";
import type { EventBus, Filters, VolumeService } from "../ports.ts";

const run = promisify(execFile);

export interface VolumeOptions {
  /** `<data-root>/volumes`. */
  readonly root: string;
  readonly events: Pick<EventBus, "publish"> | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

interface VolumeRecord {
  readonly name: string;
  readonly createdAt: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
  readonly anonymous: boolean;
}

export interface LocalVolumes extends VolumeService {
  /** Removes volumes that nobody uses; anonymous ones only, unless `all`. Returns their names. */
  prune(filters: Filters): Promise<readonly string[]>;
}

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,}$/;
const OPTIONS = new Set(["type", "device", "o", "size"]);
const DESCRIPTION = "volume.json";

/** Reads what is on disk; what was half made before a crash is removed. */
export async function openVolumes(options: VolumeOptions): Promise<LocalVolumes> {
  await mkdir(options.root, { recursive: true, mode: 0o701 });
  const records = new Map<string, VolumeRecord>();
  for (const entry of await readdir(options.root, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const folder = join(options.root, entry.name);
    try {
      const text = await readFile(join(folder, DESCRIPTION), "utf8");
      records.set(entry.name, JSON.parse(text) as VolumeRecord);
    } catch (error) {
      if (existsSync(join(folder, DESCRIPTION))) {
        options.log.error("volume description is unreadable; its data is kept", {
          volume: entry.name,
          reason: messageOf(error),
        });
      } else await rm(folder, { recursive: true, force: true });
    }
  }
  return new Volumes(options, records);
}

class Volumes implements LocalVolumes {
  readonly #options: VolumeOptions;
  readonly #records: Map<string, VolumeRecord>;
  readonly #users = new Map<string, Set<string>>();
  readonly #lock = new KeyedLock();

  constructor(options: VolumeOptions, records: Map<string, VolumeRecord>) {
    this.#options = options;
    this.#records = records;
  }

  async create(request: Parameters<VolumeService["create"]>[0]): Promise<VolumeInspect> {
    const { driver = "local", driverOpts = {}, labels = {} } = request;
    const generated = request.name === undefined || request.name === "";
    const name = generated ? newHexId(this.#options.random) : (request.name ?? "");
    if (driver !== "local" && driver !== "") {
      throw new EngineError(
        "not-found",
        `error looking up volume plugin ${driver}: plugin "${driver}" not found`,
      );
    }
    checkRequest(name, driverOpts);
    return this.#lock.run(name, async () => {
      const existing = this.#records.get(name);
      if (existing !== undefined) return this.#inspect(existing);
      const record: VolumeRecord = {
        name,
        createdAt: new Date(this.#options.clock.nowMs()).toISOString(),
        labels,
        options: driverOpts,
        anonymous: request.anonymous ?? generated,
      };
      await this.#write(record);
      this.#records.set(name, record);
      this.#publish("create", name);
      return this.#inspect(record);
    });
  }

  inspect(name: string): Promise<VolumeInspect> {
    return Promise.resolve().then(() => this.#inspect(this.#get(name)));
  }

  list(filters: Filters): Promise<readonly VolumeInspect[]> {
    const all = [...this.#records.values()].filter((record) => this.#matches(record, filters));
    return Promise.resolve(
      all.map((record) => this.#inspect(record)).sort((a, b) => (a.Name < b.Name ? -1 : 1)),
    );
  }

  async remove(name: string, { force }: { force?: boolean }): Promise<void> {
    await this.#lock.run(name, async () => {
      const record = this.#records.get(name);
      if (record === undefined && force === true) return;
      this.#get(name);
      const users = this.#users.get(name);
      if (users !== undefined && users.size > 0) {
        throw new EngineError(
          "conflict",
          `remove ${name}: volume is in use - [${[...users].join(", ")}]`,
        );
      }
      // Without its description the volume is gone, also if we die before its data is.
      await rm(join(this.#folder(name), DESCRIPTION), { force: true });
      this.#records.delete(name);
      await rm(this.#folder(name), { recursive: true, force: true });
      this.#publish("destroy", name);
    });
  }

  mount(name: string, containerId: string): Promise<string> {
    return this.#lock.run(name, async () => {
      const record = this.#get(name);
      const users = this.#users.get(name) ?? new Set();
      if (users.size === 0) await this.#mountDevice(record);
      users.add(containerId);
      this.#users.set(name, users);
      return this.#data(name);
    });
  }

  async release(name: string, containerId: string): Promise<void> {
    await this.#lock.run(name, async () => {
      const users = this.#users.get(name);
      if (users === undefined || !users.delete(containerId) || users.size > 0) return;
      this.#users.delete(name);
      const record = this.#records.get(name);
      if (record !== undefined && needsMount(record)) {
        await run("umount", [this.#data(name)]).catch((error: unknown) =>
          this.#options.log.warn("volume could not be unmounted", { volume: name, error }),
        );
      }
    });
  }

  async prune(filters: Filters): Promise<readonly string[]> {
    const all = filters.get("all")?.some((value) => value === "true" || value === "1") ?? false;
    const removed: string[] = [];
    const wanted = new Map([...filters].filter(([key]) => key !== "all"));
    for (const record of this.#records.values()) {
      const inUse = (this.#users.get(record.name)?.size ?? 0) > 0;
      if (inUse || !(all || record.anonymous) || !this.#matches(record, wanted)) continue;
      await this.remove(record.name, {});
      removed.push(record.name);
    }
    return removed;
  }

  #get(name: string): VolumeRecord {
    const record = this.#records.get(name);
    if (record === undefined) {
      throw new EngineError("not-found", `get ${name}: no such volume`);
    }
    return record;
  }

  #matches(record: VolumeRecord, filters: Filters): boolean {
    for (const [key, values] of filters) {
      const test = FILTERS[key];
      if (test === undefined) {
        throw new EngineError("invalid-argument", `invalid filter '${key}'`);
      }
      const used = (this.#users.get(record.name)?.size ?? 0) > 0;
      if (!values.some((value) => test(record, value, used))) return false;
    }
    return true;
  }

  #inspect(record: VolumeRecord): VolumeInspect {
    return {
      CreatedAt: record.createdAt,
      Driver: "local",
      Labels: record.labels,
      Mountpoint: this.#data(record.name),
      Name: record.name,
      Options: Object.keys(record.options).length === 0 ? null : record.options,
      Scope: "local",
    };
  }

  async #write(record: VolumeRecord): Promise<void> {
    const folder = this.#folder(record.name);
    await mkdir(folder, { recursive: true, mode: 0o701 });
    await mkdir(join(folder, "_data"), { recursive: true, mode: 0o755 });
    const path = join(folder, DESCRIPTION);
    await writeFile(`${path}.new`, JSON.stringify(record), { mode: 0o600, flush: true });
    await rename(`${path}.new`, path);
  }

  async #mountDevice(record: VolumeRecord): Promise<void> {
    if (!needsMount(record)) return;
    const { type = "none", device = "", o = "" } = record.options;
    const args = ["-t", type, ...(o === "" ? [] : ["-o", o]), device, this.#data(record.name)];
    try {
      await run("mount", args);
    } catch (error) {
      throw new EngineError(
        "internal",
        `error while mounting volume '${this.#data(record.name)}': failed to mount local volume: mount ${device}:${this.#data(record.name)}: ${messageOf(error)}`,
      );
    }
  }

  #folder(name: string): string {
    return join(this.#options.root, name);
  }

  #data(name: string): string {
    return join(this.#folder(name), "_data");
  }

  #publish(action: string, name: string): void {
    this.#options.events?.publish({
      Type: "volume",
      Action: action,
      Actor: { ID: name, Attributes: { driver: "local" } },
    });
  }
}

const FILTERS: Readonly<
  Record<string, (record: VolumeRecord, value: string, used: boolean) => boolean>
> = {
  name: (record, value) => record.name.includes(value),
  driver: (_record, value) => value === "local",
  label: (record, value) => hasLabel(record, value),
  "label!": (record, value) => !hasLabel(record, value),
  dangling: (_record, value, used) => used !== (value === "true" || value === "1"),
};

function hasLabel(record: VolumeRecord, wanted: string): boolean {
  const [key = "", value] = wanted.split("=", 2);
  return key in record.labels && (value === undefined || record.labels[key] === value);
}

function needsMount(record: VolumeRecord): boolean {
  return record.options.device !== undefined;
}

function checkRequest(name: string, options: Readonly<Record<string, string>>): void {
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
