/** The configuration file of the containerd that we run ourselves. Pure text. */

export interface ContainerdConfig {
  /** Persistent data: content, snapshots, metadata. */
  readonly root: string;
  /** Runtime state: sockets of shims, bundles. */
  readonly state: string;
  /** Socket of the gRPC API. */
  readonly address: string;
  readonly logLevel: "debug" | "info" | "warn" | "error" | "fatal";
}

/** What an engine without Kubernetes never uses, and what fails loudly where it is not set up. */
const DISABLED_PLUGINS = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.internal.v1.restart",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
];

/** Longest path of a unix socket, bytes, without the closing zero. */
export const SOCKET_PATH_MAX_BYTES = 107;

export function renderConfig(config: ContainerdConfig): string {
  const text = (value: string) => JSON.stringify(value);
  return `# Written by skep at every start; changes here are lost.
version = 2
root = ${text(config.root)}
state = ${text(config.state)}
disabled_plugins = [${DISABLED_PLUGINS.map(text).join(", ")}]

[grpc]
  address = ${text(config.address)}
  uid = 0
  gid = 0

[ttrpc]
  address = ${text(`${config.address}.ttrpc`)}

[debug]
  level = ${text(config.logLevel)}

[plugins."io.containerd.gc.v1.scheduler"]
  pause_threshold = 0.05
  startup_delay = "10s"
`;
}
