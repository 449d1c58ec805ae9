/**
 * The host's volumes, whichever driver keeps them. What we were told of a volume (its driver, labels,
 * options) lies on disk, written before the volume is announced; drivers know the rest. Volumes that a
 * plug-in has and nobody made here are shown, too.
 *
 * Invariants: a volume with users is not removed; users are containers, told by the container service
 * again after a restart. A local directory without a description is a half-made volume and is removed;
 * one whose description is damaged is nobody's to use, because what is in it may not be all there was.
 */

import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { EngineError, messageOf } from "#base/error.ts";
import { newHexId } from "#base/ids.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import { KeyedLock } from "#platform/async.ts";
import { replaceFile } from "#platform/replace-file.ts";
import type { VolumeInspect, VolumeList } from "#wire/docker/volumes.ts";
import { treeSize } from "../files/tree-size.ts";
import type { PluginRegistry } from "../plugins/registry.ts";
import type { EventBus, Filters, VolumeService } from "../ports.ts";
import type { DriverVolume, VolumeDriver } from "./driver.ts";
import { LOCAL, LocalDriver } from "./local-driver.ts";
import { remoteVolumeDriver } from "./remote-driver.ts";
import { readVolumeFilters, type VolumeFacts } from "./volume-filters.ts";

export interface VolumeOptions {
  /** `<data-root>/volumes`. */
  readonly root: string;
  readonly plugins: PluginRegistry;
  readonly events: Pick<EventBus, "publish"> | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

interface VolumeRecord {
  readonly name: string;
  /** Absent = local. */
  readonly driver?: string;
  readonly createdAt: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
  readonly anonymous: boolean;
}

export interface HostVolumes extends VolumeService {
  /** With a warning for each driver that did not answer. */
  listAll(filters: Filters): Promise<VolumeList>;
  /** Removes volumes that nobody uses; anonymous ones only, unless `all`. Returns their names. */
  prune(filters: Filters): Promise<PrunedVolumes>;
  /** All volumes with what they hold (-1 where a plug-in keeps it) and how many containers refer to them. */
  usage(): Promise<readonly VolumeInspect[]>;
  /** Names of the drivers that can be used now. */
  drivers(): Promise<readonly string[]>;
}

export interface PrunedVolumes {
  readonly names: readonly string[];
  readonly reclaimedBytes: number;
}

interface VolumeUsers {
  /** Containers that refer to the volume. */
  readonly holders: Set<string>;
  /** Those that have it mounted, and where; empty if that was before this process. */
  readonly mounts: Map<string, string>;
}

const DESCRIPTION = "volume.json";

/** Reads what is on disk; what was half made before a crash is removed. */
export async function openVolumes(options: VolumeOptions): Promise<HostVolumes> {
  await mkdir(options.root, { recursive: true, mode: 0o701 });
  const records = new Map<string, VolumeRecord>();
  const damaged = new Set<string>();
  for (const entry of await readdir(options.root, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const folder = join(options.root, entry.name);
    const path = join(folder, DESCRIPTION);
    try {
      const record = readDescription(await readFile(path, "utf8"), entry.name);
      records.set(record.name, record);
    } catch (error) {
      if (existsSync(path)) {
        options.log.error(
          "a volume's description cannot be read, its data is kept: put the file back, or remove its folder, and start the engine again",
          { volume: entry.name, path, reason: messageOf(error) },
        );
        damaged.add(entry.name);
      } else await rm(folder, { recursive: true, force: true });
    }
  }
  return new Volumes(options, records, damaged);
}

function readDescription(text: string, folder: string): VolumeRecord {
  const value = JSON.parse(text) as Partial<VolumeRecord> | null;
  const { name, labels, options } = value ?? {};
  const isWhole = typeof labels === "object" && typeof options === "object";
  if (value === null || !isWhole || folder !== folderName(name ?? "")) {
    throw new EngineError("data-loss", "it is not the description of this volume");
  }
  return value as VolumeRecord;
}

/** Of the folder of a volume, whatever plug-ins call theirs. */
function folderName(volume: string): string {
  return encodeURIComponent(volume);
}

class Volumes implements HostVolumes {
  readonly #options: VolumeOptions;
  readonly #records: Map<string, VolumeRecord>;
  readonly #local = new LocalDriver((name) => this.#folder(name));
  readonly #users = new Map<string, VolumeUsers>();
  readonly #lock = new KeyedLock();
  /** Names of folders whose description cannot be read. */
  readonly #damaged: ReadonlySet<string>;

  constructor(
    options: VolumeOptions,
    records: Map<string, VolumeRecord>,
    damaged: ReadonlySet<string>,
  ) {
    this.#options = options;
    this.#records = records;
    this.#damaged = damaged;
    for (const record of records.values()) {
      if (driverOf(record) === LOCAL) this.#local.adopt(record.name, record.options);
    }
  }

  async create(request: Parameters<VolumeService["create"]>[0]): Promise<VolumeInspect> {
    const { driver: wanted = "", driverOpts = {}, labels = {} } = request;
    const generated = request.name === undefined || request.name === "";
    const name = generated ? newHexId(this.#options.random) : (request.name ?? "");
    if (wanted === "" || wanted === LOCAL) this.#local.check(name, driverOpts);
    else checkRemoteName(name);
    return this.#lock.run(name, async () => {
      this.#requireWhole(name);
      const isOpen = wanted === "" && !generated;
      const existing = this.#records.get(name) ?? (isOpen ? await this.#find(name) : undefined);
      if (existing !== undefined) {
        if (wanted !== "" && wanted !== driverOf(existing)) {
          throw new EngineError("conflict", `create ${name}: volume name must be unique`);
        }
        return this.#inspect(existing);
      }
      const record: VolumeRecord = {
        name,
        driver: wanted === "" ? LOCAL : wanted,
        createdAt: `${new Date(this.#options.clock.nowMs()).toISOString().slice(0, 19)}Z`,
        labels,
        options: driverOpts,
        anonymous: request.anonymous ?? generated,
      };
      await this.#make(record);
      this.#records.set(name, record);
      this.#publish("create", record);
      return this.#inspect(record);
    });
  }

  async inspect(name: string): Promise<VolumeInspect> {
    return this.#inspect(await this.#get(name));
  }

  async list(filters: Filters): Promise<readonly VolumeInspect[]> {
    return (await this.listAll(filters)).Volumes;
  }

  async listAll(filters: Filters): Promise<VolumeList> {
    const matches = readVolumeFilters(filters);
    const { foreign, warnings } = await this.#foreign();
    const all = [...this.#records.values(), ...foreign.map(({ record }) => record)];
    const kept = all.filter((record) => matches(this.#facts(record)));
    const known = new Map(foreign.map(({ record, volume }) => [record, volume]));
    const rows = kept.map((record) => this.#describe(record, known.get(record), "local"));
    return {
      Volumes: rows.sort((a, b) => (a.Name < b.Name ? -1 : 1)),
      Warnings: warnings.length === 0 ? null : warnings,
    };
  }

  async remove(name: string, { force }: { force?: boolean }): Promise<void> {
    await this.#lock.run(name, async () => {
      const record = this.#records.get(name) ?? (await this.#find(name));
      if (record === undefined) {
        if (force === true) return;
        throw noSuchVolume(name);
      }
      const holders = this.#users.get(name)?.holders;
      if (holders !== undefined && holders.size > 0) {
        throw new EngineError(
          "conflict",
          `remove ${name}: volume is in use - [${[...holders].join(", ")}]`,
        );
      }
      await this.#unmake(record, force === true);
      this.#publish("destroy", record);
    });
  }

  hold(name: string, containerId: string): Promise<void> {
    return this.#lock.run(name, async () => {
      this.#usersOf(name).holders.add(containerId);
    });
  }

  mount(name: string, containerId: string): Promise<string> {
    return this.#lock.run(name, async () => {
      const known = this.#users.get(name)?.mounts.get(containerId);
      if (known !== undefined && known !== "") return known;
      const driver = this.#driver(driverOf(await this.#get(name)));
      const path = await wrapped("mount", name, () => driver.mount(name, containerId));
      this.#usersOf(name).mounts.set(containerId, path);
      return path;
    });
  }

  resume(name: string, containerId: string): Promise<void> {
    return this.#lock.run(name, async () => {
      this.#usersOf(name).mounts.set(containerId, "");
    });
  }

  unmount(name: string, containerId: string): Promise<void> {
    return this.#lock.run(name, () => this.#unmount(name, containerId));
  }

  async release(name: string, containerId: string): Promise<void> {
    await this.#lock.run(name, async () => {
      await this.#unmount(name, containerId);
      const users = this.#users.get(name);
      users?.holders.delete(containerId);
      if (users?.holders.size === 0) this.#users.delete(name);
    });
  }

  async usage(): Promise<readonly VolumeInspect[]> {
    const all = await this.list(new Map());
    const rows: VolumeInspect[] = [];
    for (const volume of all) {
      const Size = volume.Driver === LOCAL ? await treeSize(volume.Mountpoint) : -1;
      const RefCount = this.#users.get(volume.Name)?.holders.size ?? 0;
      rows.push({ ...volume, UsageData: { Size, RefCount } });
    }
    return rows;
  }

  async prune(filters: Filters): Promise<PrunedVolumes> {
    const all = filters.get("all")?.some((value) => value === "true" || value === "1") ?? false;
    const names: string[] = [];
    let reclaimedBytes = 0;
    const matches = readVolumeFilters(new Map([...filters].filter(([key]) => key !== "all")));
    for (const record of this.#records.values()) {
      const facts = this.#facts(record);
      // As with Docker: what plug-ins keep may be used by other hosts.
      if (facts.used || facts.driver !== LOCAL) continue;
      if (!(all || record.anonymous) || !matches(facts)) continue;
      const size = await treeSize(this.#local.data(record.name));
      await this.remove(record.name, {});
      names.push(record.name);
      reclaimedBytes += size;
    }
    this.#options.events?.publish({
      Type: "volume",
      Action: "prune",
      Actor: { ID: "", Attributes: { reclaimed: String(reclaimedBytes) } },
    });
    return { names, reclaimedBytes };
  }

  async drivers(): Promise<readonly string[]> {
    const plugins = await this.#options.plugins.list("VolumeDriver");
    return [LOCAL, ...plugins.map(({ name }) => name)];
  }

  #usersOf(name: string): VolumeUsers {
    const known = this.#users.get(name);
    if (known !== undefined) return known;
    const users = { holders: new Set<string>(), mounts: new Map<string, string>() };
    this.#users.set(name, users);
    return users;
  }

  /** A driver that fails here has nothing to tell its user, whose container is gone already. */
  async #unmount(name: string, containerId: string): Promise<void> {
    const mounts = this.#users.get(name)?.mounts;
    if (mounts === undefined || !mounts.delete(containerId)) return;
    const record = this.#records.get(name) ?? (await this.#find(name));
    if (record === undefined) return;
    try {
      await this.#driver(driverOf(record)).unmount(name, containerId, mounts.size === 0);
    } catch (error) {
      const reason = messageOf(error);
      this.#options.log.warn("volume could not be unmounted", { volume: name, reason });
    }
  }

  #driver(name: string): VolumeDriver {
    return name === LOCAL ? this.#local : remoteVolumeDriver(name, this.#options.plugins);
  }

  async #make(record: VolumeRecord): Promise<void> {
    const { name, options } = record;
    const driver = driverOf(record);
    try {
      await this.#driver(driver).create(name, options);
    } catch (error) {
      if (driver === LOCAL) throw error;
      const known = EngineError.from(error);
      const missing = known.code === "not-found";
      const reason = missing ? `error looking up volume plugin ${driver}: ` : "";
      throw new EngineError(known.code, `create ${name}: ${reason}${known.message}`, {
        cause: error,
      });
    }
    try {
      await this.#write(record);
    } catch (error) {
      // What a plug-in has, it may have had before.
      if (driver === LOCAL) await this.#local.remove(name);
      await rm(this.#folder(name), { recursive: true, force: true });
      throw error;
    }
  }

  /** To go on without the description could be to write elsewhere: beside a disk that it mounts. */
  #requireWhole(name: string): void {
    if (!this.#damaged.has(folderName(name))) return;
    throw new EngineError(
      "data-loss",
      `the description of volume ${name} cannot be read: put ${join(this.#folder(name), DESCRIPTION)} back, or remove its folder, and start the engine again`,
    );
  }

  async #unmake(record: VolumeRecord, force: boolean): Promise<void> {
    const { name } = record;
    const driver = driverOf(record);
    // Without its description a local volume is gone, also if we die before its data is.
    if (driver === LOCAL) await rm(join(this.#folder(name), DESCRIPTION), { force: true });
    try {
      await wrapped("remove", name, () => this.#driver(driver).remove(name));
    } catch (error) {
      if (!force || driver === LOCAL) throw error;
      this.#options.log.warn("a volume was forgotten by force; its driver may still have it", {
        volume: name,
        driver,
        reason: messageOf(error),
      });
    }
    this.#records.delete(name);
    await rm(this.#folder(name), { recursive: true, force: true });
  }

  async #get(name: string): Promise<VolumeRecord> {
    this.#requireWhole(name);
    const record = this.#records.get(name) ?? (await this.#find(name));
    if (record === undefined) throw noSuchVolume(name);
    return record;
  }

  /** A volume that nobody made here: some plug-in may have it. */
  async #find(name: string): Promise<VolumeRecord | undefined> {
    for (const plugin of await this.#options.plugins.list("VolumeDriver")) {
      const volume = await this.#driver(plugin.name)
        .get(name)
        .catch(() => undefined);
      if (volume !== undefined) return foreignRecord(volume, plugin.name);
    }
    return undefined;
  }

  async #foreign() {
    const plugins = await this.#options.plugins.list("VolumeDriver");
    const warnings: string[] = [];
    const lists = await Promise.all(
      plugins.map(async ({ name: driver }) => {
        try {
          const volumes = await this.#driver(driver).list();
          return volumes.map((volume) => ({ volume, record: foreignRecord(volume, driver) }));
        } catch (error) {
          warnings.push(`list: volume driver ${driver}: ${messageOf(error)}`);
          return [];
        }
      }),
    );
    const foreign = lists.flat().filter(({ record }) => !this.#records.has(record.name));
    return { foreign, warnings };
  }

  #facts(record: VolumeRecord): VolumeFacts {
    const used = (this.#users.get(record.name)?.holders.size ?? 0) > 0;
    return { name: record.name, driver: driverOf(record), labels: record.labels, used };
  }

  async #inspect(record: VolumeRecord): Promise<VolumeInspect> {
    const driver = this.#driver(driverOf(record));
    const [volume, scope] = await Promise.all([
      driver.get(record.name).catch(() => undefined),
      driver.scope().catch(() => "local" as const),
    ]);
    return this.#describe(record, volume, scope);
  }

  #describe(
    record: VolumeRecord,
    volume: DriverVolume | undefined,
    scope: "local" | "global",
  ): VolumeInspect {
    const driver = driverOf(record);
    return {
      CreatedAt: volume?.createdAt ?? record.createdAt,
      Driver: driver,
      Labels: record.labels,
      Mountpoint: driver === LOCAL ? this.#local.data(record.name) : (volume?.mountpoint ?? ""),
      Name: record.name,
      Options: Object.keys(record.options).length === 0 ? null : record.options,
      Scope: scope,
      ...(volume?.status === undefined ? {} : { Status: volume.status }),
    };
  }

  async #write(record: VolumeRecord): Promise<void> {
    const folder = this.#folder(record.name);
    await mkdir(folder, { recursive: true, mode: 0o701 });
    const path = join(folder, DESCRIPTION);
    const sync = "content";
    await replaceFile(path, JSON.stringify(record), { mode: 0o600, sync, suffix: ".new" });
  }

  #folder(name: string): string {
    return join(this.#options.root, folderName(name));
  }

  #publish(action: string, record: VolumeRecord): void {
    this.#options.events?.publish({
      Type: "volume",
      Action: action,
      Actor: { ID: record.name, Attributes: { driver: driverOf(record) } },
    });
  }
}

function driverOf({ driver }: Pick<VolumeRecord, "driver">): string {
  return driver ?? LOCAL;
}

function foreignRecord(volume: DriverVolume, driver: string): VolumeRecord {
  const createdAt = volume.createdAt ?? "";
  return { name: volume.name, driver, createdAt, labels: {}, options: {}, anonymous: false };
}

function noSuchVolume(name: string): EngineError {
  return new EngineError("not-found", `get ${name}: no such volume`);
}

/** Plug-ins name volumes as they like; a name must only be one, and not lead anywhere. */
function checkRemoteName(name: string): void {
  if (name !== "." && name !== ".." && name.length <= 255 && !/[/\0]/.test(name)) return;
  throw new EngineError("invalid-argument", `create ${name}: the volume name is not valid`);
}

/** Docker names the operation and the volume before a driver's own words. */
async function wrapped<T>(operation: string, name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { code, message } = EngineError.from(error, "internal");
    throw new EngineError(code, `${operation} ${name}: ${message}`, { cause: error });
  }
}
