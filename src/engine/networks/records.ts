/**
 * What is written down of networks and of what containers hold on them. A network's record survives
 * everything; what containers hold is gone with a reboot, so it lies under the run root.
 */

import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { EngineError, messageOf } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import { replaceFile, syncFolder } from "#platform/replace-file.ts";
import type { EndpointSettings } from "#wire/docker/networks.ts";

export interface IpamRecord {
  /** CIDR with the host's bits cleared. */
  readonly subnet: string;
  readonly range?: string;
  /** Absent on internal networks whose user wanted none. */
  readonly gateway?: string;
  readonly auxiliary?: Readonly<Record<string, string>>;
  /** What an address plug-in calls the pool, and the space that it is from. */
  readonly poolId?: string;
  readonly addressSpace?: string;
}

export interface NetworkRecord {
  readonly version: 1;
  readonly id: string;
  readonly name: string;
  /** "bridge", "macvlan", "ipvlan", "host", "null", or the name of a plug-in. */
  readonly driver: string;
  /** The driver is a plug-in. */
  readonly remote?: boolean;
  /** It is the swarm's: its name and its addresses are the managers' to give. */
  readonly swarm?: boolean;
  /** Plug-ins may not have done their part yet: what is found so after a crash is given up. */
  readonly unfinished?: boolean;
  /** RFC 3339 with nanoseconds. */
  readonly created: string;
  /** Absent = true: records of old have no such field. */
  readonly ipv4?: boolean;
  readonly ipv6: boolean;
  /** Only a configuration that other networks take theirs from. */
  readonly configOnly?: boolean;
  /** Name of the network that the configuration was taken from. */
  readonly configFrom?: string;
  readonly internal: boolean;
  readonly attachable: boolean;
  readonly ipamDriver: string;
  readonly ipamOptions: Readonly<Record<string, string>> | null;
  readonly ipam: readonly IpamRecord[];
  /** True when the user chose the subnet: only then may containers choose addresses. */
  readonly userSubnet: boolean;
  readonly options: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  /** The bridge, or the parent of a macvlan or ipvlan network; "" for host, null and plug-ins. */
  readonly bridge: string;
}

/** An address that an address plug-in has given. */
export interface HeldAddress {
  readonly driver: string;
  readonly poolId: string;
  /** Without prefix length. */
  readonly address: string;
}

/** An endpoint as its network's plug-in knows it. */
export interface RemoteEnd {
  readonly driver: string;
  /** How far the plug-in has come for certain; it may be one step further. */
  readonly stage: "planned" | "created" | "joined";
  /** The interface as the plug-in made it on the host; absent when it made none. */
  readonly source?: string;
  readonly routes?: readonly RemoteRoute[];
  /** The plug-in publishes the container's ports. */
  readonly external?: boolean;
}

export interface RemoteRoute {
  /** CIDR. */
  readonly destination: string;
  /** Absent = on the link. */
  readonly nextHop?: string;
}

export interface EndpointRecord {
  readonly endpointId: string;
  readonly networkId: string;
  /** As it was when attached; swarm networks may be forgotten before their endpoints. */
  readonly networkName: string;
  readonly bridge: string;
  /** The end of the veth pair on the host; "" where there is none of ours. */
  readonly hostInterface: string;
  /** The end in the container: "eth0"; "" on host and null. */
  readonly interface: string;
  readonly mac: string;
  /** With prefix length. */
  readonly ipv4?: string;
  readonly ipv6?: string;
  /** A router, or "0.0.0.0" for who leaves by the interface itself; "::" likewise. */
  readonly gateway4?: string;
  readonly gateway6?: string;
  /** Larger is preferred as the default route. */
  readonly priority: number;
  /** What was asked for. */
  readonly settings: EndpointSettings;
  /** The swarm's loan that the address is from, for a container that is no task. */
  readonly loan?: string;
  readonly held?: readonly HeldAddress[];
  /** Absent when the network's driver is our own. */
  readonly remote?: RemoteEnd;
  /** Names that the network's DNS answers with this endpoint. */
  readonly names: readonly string[];
}

export interface PublishedPort {
  readonly protocol: "tcp" | "udp" | "sctp";
  readonly containerPort: number;
  /** "0.0.0.0", "::" or one address of the host. */
  readonly hostIp: string;
  readonly hostPort: number;
  readonly containerIp: string;
}

export interface AttachmentRecord {
  readonly version: 1;
  readonly containerId: string;
  readonly containerName: string;
  readonly hostname: string;
  readonly endpoints: readonly EndpointRecord[];
  readonly ports: readonly PublishedPort[];
}

/** An endpoint that plug-ins have a part in. */
export interface HeldEndpoint {
  readonly version: 1;
  readonly containerId: string;
  readonly endpoint: EndpointRecord;
}

/** One JSON file per record in a folder, replaced whole. */
export class RecordFolder<T extends { readonly version: 1 }> {
  readonly #folder: string;
  readonly #durable: boolean;
  readonly #isWhole: (record: T, id: string) => boolean;
  readonly #damaged = new Set<string>();

  /** `isWhole`: whether it is the record of that id, with all that is read of it without asking. */
  constructor(
    folder: string,
    options: { durable: boolean; isWhole: (record: T, id: string) => boolean },
  ) {
    this.#folder = folder;
    this.#durable = options.durable;
    this.#isWhole = options.isWhole;
  }

  /** Ids of the records that could not be read: what is theirs in the kernel is to be left alone. */
  get damaged(): ReadonlySet<string> {
    return this.#damaged;
  }

  async load(log: Log): Promise<readonly T[]> {
    this.#damaged.clear();
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const records: T[] = [];
    for (const name of await readdir(this.#folder)) {
      const path = join(this.#folder, name);
      if (!name.endsWith(".json")) {
        // A write that a crash cut short; the record itself is whole.
        await rm(path, { force: true, recursive: true });
        continue;
      }
      const id = name.slice(0, -".json".length);
      try {
        const record = parse(await readFile(path, "utf8")) as T;
        if (!this.#isWhole(record, id)) throw new EngineError("data-loss", "it is not whole");
        records.push(record);
      } catch (error) {
        this.#damaged.add(id);
        log.error(
          "an unreadable record is passed over, what is its is left alone: put the file back, or remove it, and start the engine again",
          { path, reason: messageOf(error) },
        );
      }
    }
    return records;
  }

  async save(id: string, record: T): Promise<void> {
    const path = join(this.#folder, `${id}.json`);
    const sync = this.#durable ? "name" : undefined;
    await replaceFile(path, sealed(record), { mode: 0o600, sync, suffix: ".new" });
  }

  async remove(id: string): Promise<void> {
    await rm(join(this.#folder, `${id}.json`), { force: true });
    if (this.#durable) await syncFolder(this.#folder);
  }
}

/** The last field is a checksum of all before it. Records of old have none. */
const SUM = /,"sum":"([0-9a-f]{16})"\}$/;

function sealed(record: object): string {
  const text = JSON.stringify(record);
  return `${text.slice(0, -1)},"sum":"${sumOf(text)}"}`;
}

function sumOf(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

function parse(text: string): { readonly version: 1 } {
  const found = SUM.exec(text);
  const content = found === null ? text : `${text.slice(0, found.index)}}`;
  if (found !== null && found[1] !== sumOf(content)) {
    throw new EngineError("data-loss", "its checksum does not fit");
  }
  const record = JSON.parse(content) as { readonly version: 1 } | null;
  if (record?.version === 1) return record;
  throw new EngineError("data-loss", "it is no record of a version that this engine knows");
}
