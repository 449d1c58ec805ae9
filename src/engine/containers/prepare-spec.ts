/**
 * Finds out what a container's specification needs of the host at the moment of its start: who the
 * user is in this image, where volumes and files lie, whose namespaces are joined. The independent
 * questions are asked side by side.
 */

import { mkdir, readFile, stat } from "node:fs/promises";
import { EngineError, messageOf } from "#base/error.ts";
import { MS_NODEV, MS_NOEXEC, MS_NOSUID, mountSync, unmountSync } from "#platform/libc.ts";
import type { Mount } from "#wire/gen/containerd/types_pb.js";
import { chooseApparmor } from "./apparmor.ts";
import { capabilityRequest, planCapabilities } from "./capabilities.ts";
import type { Container } from "./container.ts";
import type { ContainerContext } from "./context.ts";
import { resolveDevices } from "./devices.ts";
import { renderHosts, renderResolvConf } from "./host-files.ts";
import { linkedEnv } from "./link-env.ts";
import type { OciSpec } from "./oci-spec.ts";
import { requirePropagation } from "./propagation.ts";
import { readsOnlyBelow } from "./read-only-below.ts";
import type { ContainerRecord, MountSpec } from "./record.ts";
import { layersOf, readRootfsText } from "./rootfs-view.ts";
import { chooseSeccomp } from "./seccomp.ts";
import { parseSecurityOptions } from "./security-options.ts";
import { buildSpec, type NamespaceChoice } from "./spec.ts";
import type { MountFiles, ResolvedMount } from "./spec-mounts.ts";
import { isAlive } from "./state.ts";
import { bindImage, bindSubpath } from "./subpath.ts";
import { type ProcessUser, resolveUser, type UserTables } from "./user.ts";
import { withRootfs } from "./volume-copy.ts";

export interface HostFileInput {
  readonly hosts: readonly string[];
  readonly nameservers: readonly string[];
  readonly gateway: string | undefined;
}

export async function prepareSpec(
  context: ContainerContext,
  container: Container,
  rootfs: readonly Mount[],
): Promise<OciSpec> {
  const { record } = container;
  const { hostConfig, config } = record;
  const security = parseSecurityOptions(hostConfig.SecurityOpt);
  const privileged = hostConfig.Privileged ?? false;
  const [user, mounts, files, devices, shmPath, apparmor, readOnlyBelow] = await Promise.all([
    findUser(context, record, rootfs),
    Promise.all(record.mounts.map((mount) => resolveMount(context, record, mount))),
    boundFiles(context, container),
    resolveDevices(hostConfig),
    shareShm(context, record),
    chooseApparmor(security.apparmor, privileged, context.host),
    readsOnlyBelow(record.mounts, context.host),
  ]);
  const capabilities = planCapabilities(capabilityRequest(hostConfig, context.host.capabilities));
  const join = (mode: string | undefined, type: string) =>
    chooseNamespace(context, mode ?? "", type);
  const network: NamespaceChoice =
    hostConfig.NetworkMode === "host"
      ? { kind: "host" }
      : chooseNamespace(context, hostConfig.NetworkMode ?? "", "net");
  return buildSpec({
    record,
    hostname: config.Hostname ?? "",
    user,
    linkedEnv: linkedEnv(context, record),
    mounts,
    files,
    shmPath,
    initPath: initPath(context, hostConfig.Init ?? false),
    network,
    ipc: join(hostConfig.IpcMode, "ipc"),
    pid: join(hostConfig.PidMode, "pid"),
    ...devices,
    available: context.host.capabilities,
    security,
    noNewPrivileges: security.noNewPrivileges ?? context.defaults.noNewPrivileges,
    seccomp: chooseSeccomp(
      { option: security.seccomp, privileged, capabilities, fallback: context.defaults.seccomp },
      context.host,
    ),
    apparmor,
    readOnlyBelow,
  });
}

function initPath(context: ContainerContext, wanted: boolean): string | undefined {
  if (!wanted) return undefined;
  if (context.host.initPath === undefined) {
    throw new EngineError(
      "failed-precondition",
      "no init program for --init: install tini (docker-init, tini-static or tini on the PATH)",
    );
  }
  return context.host.initPath;
}

function chooseNamespace(context: ContainerContext, mode: string, type: string): NamespaceChoice {
  if (mode === "host") return { kind: "host" };
  if (!mode.startsWith("container:")) return { kind: "own" };
  const other = joinedContainer(context, mode, SHARED_NAMES[type] ?? type);
  return { kind: "path", path: `/proc/${other.state.pid}/ns/${type}` };
}

/** What docker calls the namespaces that may be joined. */
const SHARED_NAMES: Readonly<Record<string, string>> = { net: "network", ipc: "IPC", pid: "PID" };

/** The running container that a "container:NAME" mode joins. */
function joinedContainer(context: ContainerContext, mode: string, what: string): Container {
  const other = context.registry.find(mode.slice("container:".length));
  if (!isAlive(other.state.phase)) {
    const message = `cannot join ${what} of a non running container: ${other.id}`;
    throw new EngineError("conflict", message);
  }
  return other;
}

async function findUser(
  context: ContainerContext,
  record: ContainerRecord,
  rootfs: readonly Mount[],
): Promise<ProcessUser> {
  const tables = await readUserTables(context, rootfs);
  return resolveUser(record.config.User ?? "", record.hostConfig.GroupAdd ?? [], tables);
}

export async function readUserTables(
  { mountRoot }: Pick<ContainerContext, "mountRoot">,
  rootfs: readonly Mount[],
): Promise<UserTables> {
  const read = async (layers: readonly string[]): Promise<UserTables> => {
    const [passwd, group] = await Promise.all([
      readRootfsText(layers, "/etc/passwd"),
      readRootfsText(layers, "/etc/group"),
    ]);
    return { passwd, group };
  };
  const layers = layersOf(rootfs);
  return layers === undefined
    ? await withRootfs(mountRoot, rootfs, (root) => read([root]))
    : await read(layers);
}

async function resolveMount(
  context: ContainerContext,
  record: ContainerRecord,
  spec: MountSpec,
): Promise<ResolvedMount> {
  switch (spec.type) {
    case "tmpfs":
      return { spec, hostPath: "" };
    case "volume": {
      const path = await context.volumes.mount(spec.source, record.id);
      if (spec.subpath === "") return { spec, hostPath: path };
      return { spec, hostPath: await bindSubpath(context, record, spec, path) };
    }
    case "image":
      return { spec, hostPath: await bindImage(context, record, spec) };
    case "bind":
      if (spec.createSource) await ensureSource(spec.source);
      await requirePropagation(spec.source, spec.propagation);
      return { spec, hostPath: spec.source };
  }
}

async function ensureSource(path: string): Promise<void> {
  if (
    await stat(path).then(
      () => true,
      () => false,
    )
  )
    return;
  await mkdir(path, { recursive: true }).catch((error: unknown) => {
    throw new EngineError(
      "invalid-argument",
      `error while creating mount source path '${path}': ${messageOf(error)}`,
    );
  });
}

/** The files that are bound over the image's, as far as they are known before the networks are. */
async function boundFiles(context: ContainerContext, container: Container): Promise<MountFiles> {
  const { store } = context;
  const mode = container.record.hostConfig.NetworkMode ?? "";
  const owner = mode.startsWith("container:")
    ? joinedContainer(context, mode, "network")
    : container;
  if (owner === container) {
    const hostname = container.record.config.Hostname ?? "";
    await Promise.all([
      store.writeBound(container.id, "hostname", `${hostname}\n`),
      writeNetworkFiles(context, container, { hosts: [], nameservers: [], gateway: undefined }),
    ]);
  }
  return {
    hosts: store.filePath(owner.id, "hosts"),
    hostname: store.filePath(owner.id, "hostname"),
    resolvConf: store.filePath(owner.id, "resolv.conf"),
  };
}

/** /etc/hosts and /etc/resolv.conf with what the networks gave; again when that changes. */
export async function writeNetworkFiles(
  context: ContainerContext,
  container: Container,
  given: HostFileInput,
): Promise<void> {
  const { store } = context;
  const { id, record } = container;
  const hostNetwork = record.hostConfig.NetworkMode === "host";
  const extra = record.hostConfig.ExtraHosts ?? [];
  const [base, host, gateway] = await Promise.all([
    hostNetwork ? readFile("/etc/hosts", "utf8").catch(() => "") : undefined,
    readFile("/etc/resolv.conf", "utf8").catch(() => ""),
    hostNetwork ? "127.0.0.1" : (given.gateway ?? defaultGateway(context, extra)),
  ]);
  const hosts = renderHosts({
    base,
    lines: given.hosts,
    extra,
    gateway,
  });
  const resolv = renderResolvConf({
    hostConfig: record.hostConfig,
    defaults: context.dns,
    host,
    nameservers: given.nameservers,
    hostNetwork,
  });
  await Promise.all([
    store.writeBound(id, "hosts", hosts),
    store.writeBound(id, "resolv.conf", resolv),
  ]);
}

/**
 * Without a network of its own a container is told the default bridge's, as docker tells all; it is
 * looked up only where it is asked for.
 */
async function defaultGateway(
  { networks }: ContainerContext,
  extra: readonly string[],
): Promise<string | undefined> {
  if (!extra.some((entry) => entry.endsWith("host-gateway"))) return undefined;
  const bridge = await networks.inspect("bridge").catch(() => undefined);
  return bridge?.IPAM.Config?.map(({ Gateway }) => Gateway).find((gateway) => gateway);
}

/** The host's folder with the /dev/shm that others may join; undefined for one of its own. */
async function shareShm(
  context: ContainerContext,
  record: ContainerRecord,
): Promise<string | undefined> {
  const mode = record.hostConfig.IpcMode ?? "";
  if (mode.startsWith("container:")) {
    const other = joinedContainer(context, mode, "IPC");
    if (other.record.hostConfig.IpcMode !== "shareable") {
      throw new EngineError(
        "invalid-argument",
        `can't join IPC of container ${other.id}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)`,
      );
    }
    return shmFolder(context, other.id);
  }
  if (mode !== "shareable") return undefined;
  const folder = shmFolder(context, record.id);
  await mkdir(folder, { recursive: true });
  unmountSync(folder);
  const size = `mode=1777,size=${record.hostConfig.ShmSize ?? 0}`;
  mountSync("shm", folder, "tmpfs", MS_NOEXEC | MS_NOSUID | MS_NODEV, size);
  return folder;
}

export function shmFolder(context: ContainerContext, id: string): string {
  return context.store.filePath(id, "shm");
}
