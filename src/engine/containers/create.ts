/**
 * Makes a container: the request checked and completed, its file system and volumes prepared, its
 * record written. All or nothing: what was made before a failure is taken away again, and what a
 * crash leaves behind is found by its labels when the engine starts.
 */

import { stat, writeFile } from "node:fs/promises";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import { newHexId, shortId } from "#base/ids.ts";
import type { ContainerConfig, ContainerCreateBody, HostConfig } from "#wire/docker/containers.ts";
import type { Mount } from "#wire/gen/containerd/types_pb.js";
import { openForwarder } from "../logs/forwarder.ts";
import { JsonFileLog } from "../logs/json-file.ts";
import { type LogSubject, parseLogConfig } from "../logs/log-options.ts";
import { formatNs } from "../logs/timestamps.ts";
import type { CreateOptions, RunnableImage } from "../ports.ts";
import { apparmorWarnings } from "./apparmor.ts";
import { capabilityRequest, planCapabilities } from "./capabilities.ts";
import { Container } from "./container.ts";
import { type ContainerContext, publishEvent } from "./context.ts";
import { checkConfig, checkHostConfig, checkName, withDefaults } from "./create-request.ts";
import { resolveDevices } from "./devices.ts";
import type { HostFacts } from "./host.ts";
import { mergeImageConfig } from "./image-merge.ts";
import { withoutUnsupported } from "./limits.ts";
import { planMounts } from "./mounts.ts";
import { generateName } from "./names.ts";
import { planEndpoints } from "./networks.ts";
import { planPorts } from "./port-bindings.ts";
import { requireReadOnlyBelow } from "./read-only-below.ts";
import {
  type ContainerRecord,
  INITIAL_STATE,
  imageSnapshot,
  type MountSpec,
  RECORD_VERSION,
} from "./record.ts";
import { layersOf } from "./rootfs-view.ts";
import { chooseSeccomp } from "./seccomp.ts";
import { parseSecurityOptions } from "./security-options.ts";
import { populateVolumes } from "./volume-copy.ts";

export interface CreateResult {
  readonly id: string;
  readonly warnings: readonly string[];
}

export async function createContainer(
  context: ContainerContext,
  name: string | undefined,
  body: ContainerCreateBody,
  { platform = "", writableBelow = false }: CreateOptions = {},
): Promise<CreateResult> {
  const { HostConfig: hostBody, NetworkingConfig: networking, ...config } = body;
  checkConfig(config);
  const warnings = [
    ...checkHostConfig(hostBody ?? {}, context.host),
    ...checkSecurity(hostBody ?? {}, context.host),
  ];
  const asked = withDefaults(
    withoutUnsupported(hostBody ?? {}, context.host),
    context.host,
    context.defaults,
  );
  const { registry, random } = context;
  const id = newHexId(random);
  const finalName =
    name === undefined || name === ""
      ? generateName(random, (taken) => registry.isNameTaken(taken))
      : checkName(name);
  registry.reserveName(finalName, id);
  const undo: (() => Promise<void>)[] = [];
  let imageFound = false;
  try {
    const image = await context.images.resolve(config.Image ?? "");
    requirePlatform(image, config.Image ?? "", platform);
    imageFound = true;
    const hostConfig = resolveSharedNetwork(context, asked);
    const merged = completeConfig(config, image, hostConfig, context, id);
    const requested = planEndpoints(hostConfig, merged, networking?.EndpointsConfig ?? {});
    planPorts(merged, hostConfig);
    const endpoints = await context.networks.resolve(requested);
    await resolveDevices(hostConfig);
    const plan = planOwnMounts(context, merged, hostConfig, writableBelow);
    const { mounts, imageChains } = await prepareMounts(context, id, plan, hostConfig, undo);
    const [path, ...args] = [...(merged.Entrypoint ?? []), ...(merged.Cmd ?? [])];
    if (path === undefined || path === "") {
      throw new EngineError("invalid-argument", "No command specified");
    }
    const createdAt = formatNs(context.nowNs());
    const record: ContainerRecord = {
      version: RECORD_VERSION,
      id,
      name: finalName,
      createdAt,
      imageId: image.id,
      path,
      args,
      config: merged,
      hostConfig,
      endpoints,
      mounts,
      snapshotter: context.runtime.snapshotter,
      chainId: image.chainId,
    };
    const log = createLog(context, record);
    const rootfs = await prepareFilesystem(context, record, undo);
    await prepareImageMounts(context, record, imageChains, undo);
    await context.store.create(record);
    const container = new Container(record, INITIAL_STATE, log);
    container.rootfs = rootfs;
    registry.add(container);
    publishEvent(context, container, "create");
    return { id, warnings };
  } catch (error) {
    for (const step of undo.reverse()) {
      await step().catch((failure: unknown) =>
        context.log.warn("a failed create leaves something behind", {
          container: id,
          reason: messageOf(failure),
        }),
      );
    }
    registry.releaseName(finalName, id);
    throw imageFound ? notTheImage(error) : error;
  }
}

/** `platform` as the client gave it, "linux/arm64"; "" = any. */
function requirePlatform(image: RunnableImage, reference: string, platform: string): void {
  const [os, architecture] = platform.split("/");
  const fits =
    platform === "" ||
    (os === image.os && (architecture === undefined || architecture === image.architecture));
  if (fits) return;
  throw new EngineError(
    "not-found",
    `image with reference ${reference} was found but does not provide the specified platform (${platform})`,
  );
}

/** To clients, "not found" of a create means that the image shall be pulled: only that may say so. */
function notTheImage(error: unknown): unknown {
  if (!isErrorCode(error, "not-found")) return error;
  return new EngineError("invalid-argument", messageOf(error), { cause: error });
}

/** Refuses what a start would refuse for good; returns warnings for what the kernel cannot do. */
function checkSecurity(hostConfig: HostConfig, host: HostFacts): readonly string[] {
  const { seccomp, apparmor } = parseSecurityOptions(hostConfig.SecurityOpt);
  const capabilities = planCapabilities(capabilityRequest(hostConfig, host.capabilities));
  chooseSeccomp({ option: seccomp, privileged: false, capabilities, fallback: "builtin" }, host);
  return apparmorWarnings(apparmor, host);
}

/** The log that the container's configuration asks for; undefined for the driver "none". */
export function createLog(
  context: ContainerContext,
  record: ContainerRecord,
): JsonFileLog | undefined {
  const settings = parseLogConfig(record.hostConfig.LogConfig ?? {}, logSubject(context, record));
  const { driver, forward } = settings;
  if (driver === "none") return undefined;
  const { nowNs, log } = context;
  return new JsonFileLog({
    path: context.store.filePath(record.id, `${record.id}-json.log`),
    ...settings,
    openForwarder: forward === undefined ? undefined : () => openForwarder(forward, context),
    nowNs,
    log,
  });
}

function logSubject(
  { host }: ContainerContext,
  record: Pick<ContainerRecord, "id" | "name" | "imageId" | "path" | "args" | "config">,
): LogSubject {
  return {
    id: record.id,
    name: record.name,
    imageId: record.imageId,
    imageName: record.config.Image ?? "",
    command: [record.path, ...record.args].join(" "),
    daemonName: host.hostname,
    labels: record.config.Labels ?? {},
    env: record.config.Env ?? [],
  };
}

/** Of a container that joins another's network: names and ports are that one's. */
function requireNothingOwn(config: ContainerConfig): void {
  const refuse = (what: string) =>
    new EngineError("invalid-argument", `conflicting options: ${what}`);
  if (config.Hostname) throw refuse("hostname and the network mode");
  if (config.MacAddress) throw refuse("mac-address and the network mode");
  if (Object.keys(config.ExposedPorts ?? {}).length > 0) {
    throw refuse("port exposing and the container type network mode");
  }
}

function completeConfig(
  config: ContainerConfig,
  image: RunnableImage,
  hostConfig: HostConfig,
  context: ContainerContext,
  id: string,
): ContainerConfig {
  const merged = mergeImageConfig(config, image.config);
  const sharesName = hostConfig.NetworkMode === "host" || hostConfig.UTSMode === "host";
  const mode = hostConfig.NetworkMode ?? "";
  if (mode.startsWith("container:")) {
    const other = context.registry.find(mode.slice("container:".length)).record.config;
    const { Hostname = "", Domainname = "" } = other;
    requireNothingOwn(config);
    return { ...merged, Hostname, Domainname };
  }
  const hostname = config.Hostname || (sharesName ? context.host.hostname : shortId(id));
  return { ...merged, Hostname: hostname };
}

/**
 * Whose network is joined, and who is linked to, must be there from the beginning. Joined is the
 * container, whatever its name will be.
 */
function resolveSharedNetwork({ registry }: ContainerContext, hostConfig: HostConfig): HostConfig {
  const mode = hostConfig.NetworkMode ?? "";
  const prefix = "container:";
  for (const link of hostConfig.Links ?? []) {
    const [target = ""] = link.split(":");
    try {
      registry.find(target);
    } catch (error) {
      throw new EngineError(
        "invalid-argument",
        `could not get container for ${target}: ${messageOf(error)}`,
      );
    }
  }
  if (!mode.startsWith(prefix)) return hostConfig;
  const { id } = registry.find(mode.slice(prefix.length));
  return { ...hostConfig, NetworkMode: `${prefix}${id}` };
}

function planOwnMounts(
  context: ContainerContext,
  config: ContainerConfig,
  hostConfig: HostConfig,
  writableBelow: boolean,
): MountSpec[] {
  const inherited = (hostConfig.VolumesFrom ?? []).map((text) => {
    const [reference = "", mode = ""] = text.split(":", 2);
    return { mounts: context.registry.find(reference).record.mounts, mode };
  });
  return planMounts({ config, hostConfig, inherited, writableBelow });
}

async function prepareMounts(
  context: ContainerContext,
  id: string,
  plan: readonly MountSpec[],
  hostConfig: HostConfig,
  undo: (() => Promise<void>)[],
): Promise<{ readonly mounts: MountSpec[]; readonly imageChains: ImageChains }> {
  const mounts: MountSpec[] = [];
  const imageChains = new Map<MountSpec, string>();
  const fresh = new Set<string>();
  const planned = plan.map((mount) => {
    if (!mount.anonymous || mount.source !== "") return mount;
    const source = newHexId(context.random);
    fresh.add(source);
    return { ...mount, source };
  });
  await requireReadOnlyBelow(planned, context.host);
  if (fresh.size > 0) {
    undo.push(() => context.store.remove(id));
    await context.store.announceVolumes(id, [...fresh]);
  }
  for (const mount of planned) {
    if (mount.type === "bind" && !mount.createSource) await requireSource(mount.source);
    if (mount.type === "volume") {
      if (fresh.has(mount.source)) {
        undo.push(() => context.volumes.remove(mount.source, { force: true }));
      }
      mounts.push(await ensureVolume(context, id, mount, hostConfig, undo));
    } else if (mount.type === "image") {
      const image = await context.images.resolve(mount.source);
      const found = { ...mount, source: image.id };
      imageChains.set(found, image.chainId);
      mounts.push(found);
    } else mounts.push(mount);
  }
  return { mounts, imageChains };
}

/** Mounts of images, each with the chain id of its top layer. */
type ImageChains = ReadonlyMap<MountSpec, string>;

/** Writable like the container's own file system, and gone with it. */
async function prepareImageMounts(
  { runtime }: ContainerContext,
  record: ContainerRecord,
  chains: ImageChains,
  undo: (() => Promise<void>)[],
): Promise<void> {
  for (const [mount, chainId] of chains) {
    const key = imageSnapshot(record, mount);
    undo.push(() => runtime.removeSnapshot(record.snapshotter, key));
    await runtime.prepareSnapshot(key, chainId, record.createdAt);
  }
}

async function requireSource(path: string): Promise<void> {
  await stat(path).catch(() => {
    throw new EngineError(
      "invalid-argument",
      `invalid mount config for type "bind": bind source path does not exist: ${path}`,
    );
  });
}

/** The volume exists, and knows this container as a user until the container is removed. */
async function ensureVolume(
  context: ContainerContext,
  id: string,
  mount: MountSpec,
  hostConfig: HostConfig,
  undo: (() => Promise<void>)[],
): Promise<MountSpec> {
  const request = (hostConfig.Mounts ?? []).find(({ Target }) => Target === mount.destination);
  const options = request?.VolumeOptions;
  const volume = await context.volumes.create({
    name: mount.source,
    driver: mount.driver,
    anonymous: mount.anonymous,
    ...(options?.Labels ? { labels: options.Labels } : {}),
    ...(options?.DriverConfig?.Options ? { driverOpts: options.DriverConfig.Options } : {}),
  });
  await context.volumes.hold(volume.Name, id);
  undo.push(() => context.volumes.release(volume.Name, id));
  return { ...mount, source: volume.Name, driver: volume.Driver };
}

async function prepareFilesystem(
  context: ContainerContext,
  record: ContainerRecord,
  undo: (() => Promise<void>)[],
): Promise<readonly Mount[]> {
  const { runtime } = context;
  undo.push(() => context.store.remove(record.id));
  undo.push(() => runtime.removeSnapshot(record.snapshotter, record.id));
  const rootfs = await runtime.prepareSnapshot(record.id, record.chainId, record.createdAt);
  // Programs look for this file to find out that they are in a container.
  const upper = layersOf(rootfs)?.[0];
  if (upper !== undefined) await writeFile(`${upper}/.dockerenv`, "", { mode: 0o755 });
  await populateVolumes(context, record, rootfs);
  return rootfs;
}
