/**
 * The composition root of the engine: the one place that makes the real things and hands them to
 * each other. Order is the order of need; `close` undoes it backwards. containerd is started if the
 * host has none to share, and is left running when we end, as are the containers.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { decodeAuth } from "#api/registry-auth.ts";
import type { Routes } from "#api/route.ts";
import { EngineError, messageOf } from "#base/error.ts";
import { must } from "#base/invariant.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import { VERSION } from "#cli/version.ts";
import { openBuilder } from "#engine/build/builder.ts";
import { parseSeccompProfile } from "#engine/containers/seccomp-profile.ts";
import { openContainerEngine } from "#engine/containers/service.ts";
import { type ContainerDns, createContainerDns } from "#engine/dns/resolver.ts";
import { type CountingEventBus, createEventBus } from "#engine/events/event-bus.ts";
import { openImageStore } from "#engine/images/store.ts";
import { ConnectionTable } from "#engine/networks/connection-table.ts";
import { GlobalNetworkDrivers } from "#engine/networks/global-drivers.ts";
import { GlobalIpam } from "#engine/networks/global-ipam.ts";
import { openNetworkStore } from "#engine/networks/service.ts";
import { SwarmAttachments } from "#engine/overlay/attachments.ts";
import { Overlay } from "#engine/overlay/overlay.ts";
import { OverlayTasks } from "#engine/overlay/task-networks.ts";
import { Wireguard } from "#engine/overlay/wireguard.ts";
import { createPluginRegistry, type PluginRegistry } from "#engine/plugins/registry.ts";
import { createSwarmExecutor } from "#engine/swarm-executor/executor.ts";
import { nodePlugins, readHostFacts as readNodeFacts } from "#engine/swarm-executor/host-facts.ts";
import { readHostRoutes, readOwnAddresses } from "#engine/swarm-executor/host-routes.ts";
import { NodeTables } from "#engine/swarm-executor/node-tables.ts";
import { forOperators, type TaskWithdrawer } from "#engine/swarm-executor/operator-stops.ts";
import { tablesFile } from "#engine/swarm-executor/tables-file.ts";
import { openVolumes } from "#engine/volumes/volumes.ts";
import { type Containerd, connectContainerd } from "#platform/containerd/client.ts";
import type { ContainerdServer } from "#platform/containerd/server.ts";
import type { DaemonConfig } from "./config.ts";
import { parseGenericResources } from "./generic-resources.ts";
import { changingFacts, readHostFacts } from "./host-facts.ts";
import { Metrics } from "./metrics/metrics.ts";
import { reloadAttributes } from "./reload.ts";
import { type ApiHost, engineRoutes } from "./routes.ts";
import { composeManager } from "./swarm-node/compose.ts";
import { tellSwarmEvents } from "./swarm-node/events.ts";
import { readHostAddresses } from "./swarm-node/host-addresses.ts";
import { createSwarm, type Swarm } from "./swarm-node/swarm.ts";

/** How bridges of the swarm's networks are named. */
const OVERLAY_BRIDGE_PREFIX = "ov-";

export interface EngineContext {
  readonly config: DaemonConfig;
  readonly log: Log;
  readonly clock: Clock;
  readonly random: Random;
  /** Aborted when the engine shall end, also while it still starts. */
  readonly signal: AbortSignal;
  /** Our own containerd, which may still be starting; undefined = the host's. */
  readonly ownContainerd: Promise<ContainerdServer | undefined>;
  /** A bug, or a disk that cannot be trusted: ends the process. */
  readonly onFatal: (error: unknown) => void;
}

export interface ComposedEngine {
  readonly routes: Routes;
  /** Takes over what of the configuration may change while the engine runs. */
  reload(config: DaemonConfig): void;
  close(): Promise<void>;
}

interface Host extends ApiHost {
  readonly events: CountingEventBus;
  readonly plugins: PluginRegistry;
  readonly dns: ContainerDns;
  readonly overlay: Overlay;
}

export async function composeEngine(context: EngineContext): Promise<ComposedEngine> {
  const { config, random } = context;
  // What needs no containerd is done while it starts.
  const [{ containerd, own, version }, facts, local] = await Promise.all([
    openContainerd(context),
    readHostFacts(config, random, context.log),
    openLocal(context),
  ]);
  const metrics = new Metrics(context.clock);
  const host = await openHost(context, containerd, local, metrics);
  const live: Live = { config };
  const { swarm, tables, tasks } = await openSwarm(context, host, live, metrics);
  const currentFacts = () => ({
    ...facts,
    ...changingFacts(live.config),
    containerdVersion: version,
    containerd: {
      Address: containerd.address,
      Namespaces: { Containers: containerd.namespace, Plugins: containerd.namespace },
    },
  });
  const served =
    config.metricsAddr === undefined
      ? undefined
      : await metrics.serve(
          config.metricsAddr,
          {
            facts: currentFacts,
            containers: host.containers,
            events: host.events,
            swarm,
            swarmId: () => swarm.swarmId(),
            overlay: host.overlay,
            connections: host.connections,
            tables,
          },
          context.log.child({ part: "metrics" }),
        );
  await swarm.start();
  await keepKeys(swarm, host.overlay);
  const stopEvents = tellSwarmEvents(
    swarm,
    host.events,
    context.clock,
    context.log.child({ part: "events" }),
  );
  // Not before: a container may be on a network of the swarm.
  host.containers.startByPolicy();
  return {
    routes: engineRoutes({
      host: { ...host, containers: forOperators(host.containers, tasks) },
      facts: currentFacts,
      cluster: swarm,
      random,
    }),
    reload: (next) => {
      live.config = next;
      host.images.reconfigure(next.registry);
      swarm.describeAgain();
      host.events.publish({
        Type: "daemon",
        Action: "reload",
        Actor: { ID: facts.id, Attributes: reloadAttributes(next, facts.name) },
      });
    },
    close: async () => {
      await served?.close();
      host.builder.close();
      host.connections.close();
      await stopEvents();
      await swarm.close();
      await tables.close();
      await host.overlay.close();
      await host.containers.close();
      host.dns.close();
      host.networks.close();
      containerd.close();
      own?.close();
    },
  };
}

/** On a locked manager nothing may lie on the disk that opens its traffic. */
async function keepKeys(swarm: Swarm, overlay: Overlay): Promise<void> {
  const keep = async () => {
    const isLocked = swarm.isLocked();
    if (isLocked !== undefined) await overlay.keepKeyOnDisk(!isLocked);
  };
  swarm.onChange(() => void keep());
  await keep();
}

/** The configuration as it is now, for those who ask anew each time. */
interface Live {
  config: DaemonConfig;
}

async function openContainerd({ config, clock, signal, ...context }: EngineContext): Promise<{
  readonly containerd: Containerd;
  readonly own: ContainerdServer | undefined;
  readonly version: string;
}> {
  const own = await context.ownContainerd;
  const containerd = await connectContainerd({
    address: own?.address ?? config.containerdAddress ?? "",
    namespace: config.containerdNamespace,
    clock,
    signal,
  });
  const { version } = await containerd.version.version({});
  return { containerd, own, version };
}

type LocalServices = Pick<Host, "events" | "volumes" | "networks" | "dns" | "plugins">;

/** What this host has without containerd. */
async function openLocal(context: EngineContext): Promise<LocalServices> {
  const { config, clock, random } = context;
  const log = (part: string) => context.log.child({ part });
  const { dataRoot, execRoot } = config;
  const events = createEventBus(clock);
  const dns = createContainerDns({
    servers: config.dns.servers,
    clock,
    random,
    log: log("networks"),
  });
  const plugins = createPluginRegistry({ clock, log: log("plugins") });
  const [volumes, networks] = await Promise.all([
    openVolumes({
      root: join(dataRoot, "volumes"),
      plugins,
      events,
      clock,
      random,
      log: log("volumes"),
    }),
    openNetworkStore({
      dataFolder: join(dataRoot, "networks"),
      runFolder: join(execRoot, "networks"),
      table: "skep",
      bridge: config.bridge,
      addressPools: config.addressPools,
      nameservers: config.dns.servers,
      clock,
      random,
      log: log("networks"),
      events,
      resolver: dns,
      plugins,
    }),
  ]);
  return { events, volumes, networks, dns, plugins };
}

/** The services of this host, with what ran before adopted. */
async function openHost(
  context: EngineContext,
  containerd: Containerd,
  local: LocalServices,
  metrics: Metrics,
): Promise<Host> {
  const { config, clock, random } = context;
  const log = (part: string) => context.log.child({ part });
  const { dataRoot, execRoot } = config;
  const { events, volumes, networks, dns, plugins } = local;
  const images = await openImageStore({
    containerd,
    snapshotter: config.snapshotter,
    registry: config.registry,
    certFolders: ["/etc/skep/certs.d", "/etc/docker/certs.d"],
    userAgent: `skep/${VERSION}`,
    clock,
    random,
    log: log("images"),
    events,
  });
  const engine = await openContainerEngine({
    containerd,
    snapshotter: images.snapshotter,
    dataRoot,
    execRoot,
    images,
    networks,
    volumes,
    events,
    dns: config.dns,
    defaults: {
      logDriver: config.logDriver,
      logOptions: config.logOptions,
      init: config.init,
      ulimits: config.defaultUlimits.map(ulimit),
      shmSizeBytes: config.shmSizeBytes,
      cgroupParent: config.cgroupParent ?? "",
      seccomp: seccompProfile(config.seccompProfile),
      noNewPrivileges: config.noNewPrivileges,
    },
    initPath: config.initPath,
    onProbe: metrics.engine.onProbe,
    clock,
    random,
    log: log("containers"),
  });
  const containers = metrics.engine.timed(engine);
  images.setUsers(async () =>
    (await containers.list({ all: true, filters: new Map() })).map((container) => ({
      containerId: container.Id,
      imageId: container.ImageID,
      running: container.State === "running",
    })),
  );
  await networks.reconcile(containers.runningSandboxes());
  await containers.refreshNetworks();
  const wireguard = await Wireguard.open({
    keyPath: join(dataRoot, "wireguard", "key.pem"),
    port: config.wireguardPort,
    clock,
    log: log("overlay"),
  });
  const overlay = new Overlay({
    networks,
    wireguard,
    meshAddresses: config.meshAddresses,
    clock,
    log: log("overlay"),
  });
  overlay.adopt(containers.runningSandboxes());
  dns.addSource(overlay.names);
  const connections = new ConnectionTable({ clock, log: log("networks") });
  const builder = await openBuilder({
    dataRoot,
    execRoot,
    images,
    networks,
    containers,
    clock,
    random,
    log: log("build"),
  });
  return {
    events,
    images,
    volumes,
    networks,
    dns,
    plugins,
    containers,
    overlay,
    connections,
    builder,
  };
}

const isOverlay = (device: string) => device.startsWith(OVERLAY_BRIDGE_PREFIX);

/** This node's part in a swarm: nothing until `swarm init` or `swarm join`. */
async function openSwarm(
  context: EngineContext,
  host: Host,
  live: Live,
  metrics: Metrics,
): Promise<{
  readonly swarm: Swarm;
  readonly tables: NodeTables;
  readonly tasks: TaskWithdrawer;
}> {
  const { config, clock, random, onFatal } = context;
  const log = context.log.child({ part: "swarm" });
  const { containers, images, networks, volumes, events, overlay } = host;
  const tables = await NodeTables.open({
    file: tablesFile(join(config.dataRoot, "network-tables"), log),
    dataPath: overlay,
    clock,
    log,
  });
  const genericResources = parseGenericResources(config.genericResources);
  // The node describes itself before there is a swarm to ask.
  const node: { swarm?: Swarm } = {};
  const attachments = new SwarmAttachments({
    resources: () => must(node.swarm, "the swarm").resources(),
    isActive: () => node.swarm !== undefined && node.swarm.info().state !== "inactive",
    networks,
    disconnect: (container, network) => containers.disconnectNetwork(container, network),
    clock,
    log,
  });
  networks.setLender(attachments);
  const executor = await createSwarmExecutor({
    containers,
    images,
    volumes,
    events,
    clock,
    log,
    host: async () =>
      readNodeFacts({
        engineVersion: VERSION,
        engineLabels: Object.fromEntries(live.config.labels.map(labelPair)),
        plugins: nodePlugins(await volumes.drivers(), await networks.drivers()),
        genericResources,
        network: {
          dataPathAddr: node.swarm?.dataPathAddr() ?? "",
          wireguardPublicKey: overlay.publicKey,
          wireguardPort: config.wireguardPort,
          routes: await readHostRoutes(isOverlay),
          addresses: readOwnAddresses(isOverlay),
        },
      }),
    filesDir: join(config.execRoot, "swarm-files"),
    networks: new OverlayTasks(overlay, clock),
    attachments,
    tables,
    issueIdentity: async (taskId, csr) => {
      const client = must(node.swarm, "the swarm").workloadIdentities();
      const request = { taskId, csr: Buffer.from(csr) };
      const { certificate, bundle } = await client.issue(request, { timeoutMs: 10_000 });
      const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("utf8");
      return { certificate: text(certificate), bundle: text(bundle) };
    },
  });
  node.swarm = createSwarm({
    dataRoot: config.dataRoot,
    hostAddresses: () =>
      readHostAddresses({
        ownSubnets: () => networks.subnets(),
        defaultAdvertiseAddr: config.swarmDefaultAdvertiseAddr ?? "",
      }),
    createExecutor: (nodeId) => {
      overlay.setNode(nodeId);
      return executor;
    },
    onLeave: async () => {
      // An agent has removed its tasks already; a node that was locked or damaged had none.
      await executor.retain?.(new Set());
      await tables.forget();
      await overlay.leave();
    },
    startManager: composeManager({
      dataRoot: config.dataRoot,
      networkDrivers: new GlobalNetworkDrivers(host.plugins, log),
      addressDrivers: new GlobalIpam(host.plugins, log),
      controlSocket: join(config.execRoot, "swarm", "control.sock"),
      images: {
        digest: async (image, auth) =>
          (await images.distribution(image, decodeAuth(auth))).Descriptor.digest,
        tags: (repository, auth) => images.remoteTags(repository, decodeAuth(auth)),
      },
      metrics: metrics.manager,
      onFatal,
      clock,
      random,
      log,
    }),
    clock,
    random,
    log,
  });
  let roots = "";
  node.swarm.onChange(() => {
    const now = node.swarm?.roots() ?? "";
    if (now !== roots) executor.rootsChanged();
    roots = now;
  });
  return { swarm: node.swarm, tables, tasks: executor };
}

/** Read once: a profile that cannot be read, or is none, keeps the engine from starting. */
function seccompProfile(option: string): string {
  if (option === "builtin" || option === "unconfined") return option;
  let text: string;
  try {
    text = readFileSync(option, "utf8");
  } catch (error) {
    throw new EngineError(
      "invalid-argument",
      `opening seccomp profile (${option}) failed: ${messageOf(error)}`,
    );
  }
  parseSeccompProfile(text);
  return text;
}

/** "nofile=1024:2048" */
function ulimit(text: string): { Name: string; Soft: number; Hard: number } {
  const [, name = "", soft = "", hard] = /^(\w+)=(-?\d+)(?::(-?\d+))?$/.exec(text) ?? [];
  if (name === "") throw new EngineError("invalid-argument", `invalid default ulimit: ${text}`);
  return { Name: name, Soft: Number(soft), Hard: Number(hard ?? soft) };
}

function labelPair(label: string): readonly [string, string] {
  const equals = label.indexOf("=");
  return [label.slice(0, equals), label.slice(equals + 1)];
}
