/**
 * Every option of the daemon: dockerd's own flag names and `daemon.json` keys wherever the meaning
 * exists here, so that skep can stand in for dockerd in a unit or a script. An option whose meaning
 * does not exist here is accepted with a warning, but only if ignoring it is harmless; one that
 * promises protection we do not give is refused.
 */

import type { FlagKind, FlagSpec } from "#cli/pflag.ts";

export type OptionMeaning =
  | "used"
  /** Accepted and warned about: the text says why it changes nothing. */
  | { readonly ignored: string }
  /** Refused: the text says why. */
  | { readonly refused: string };

export interface OptionSpec extends FlagSpec {
  /** Key in daemon.json; absent for flags that cannot be set there. */
  readonly key?: string;
  readonly meaning: OptionMeaning;
}

const USED = "used";
const NFTABLES = { ignored: "skep programs nftables itself, in a table of its own" } as const;
const RUNC = { ignored: "containers always run under containerd's runc shim" } as const;
const ALWAYS_ON = {
  ignored: "it is always on: a restart of skep never stops a container",
} as const;

function option(
  name: string,
  kind: FlagKind,
  usage: string,
  more: Partial<Omit<OptionSpec, "name" | "kind" | "usage">> = {},
): OptionSpec {
  return { name, kind, usage, key: name, meaning: USED, ...more };
}

export const DAEMON_OPTIONS: readonly OptionSpec[] = [
  flagOnly("config-file", "string", "Daemon configuration file", {
    defaultText: '"/etc/skep/daemon.json"',
  }),
  flagOnly("validate", "bool", "Validate daemon configuration and exit"),
  flagOnly("version", "bool", "Print version information and quit", { short: "v" }),
  flagOnly("help", "bool", "Print usage", { short: "h" }),
  option("host", "list", "Daemon socket(s) to connect to", { short: "H", key: "hosts" }),
  option("data-root", "string", "Root directory of persistent state", {
    defaultText: '"/var/lib/skep"',
  }),
  flagOnly("graph", "string", "Root of the runtime (old name of --data-root)", {
    short: "g",
    hidden: true,
  }),
  option("exec-root", "string", "Root directory for execution state files", {
    defaultText: '"/run/skep"',
  }),
  option("pidfile", "string", "Path to use for daemon PID file", { short: "p" }),
  option("group", "string", "Group for the unix socket", { short: "G" }),
  option("debug", "bool", "Enable debug mode", { short: "D" }),
  option("log-level", "string", 'Set the logging level ("debug"|"info"|"warn"|"error"|"fatal")', {
    short: "l",
    defaultText: '"info"',
  }),
  option("log-format", "string", 'Set the logging format ("text"|"json")', {
    meaning: { ignored: "the log is always JSON" },
  }),
  option("label", "list", "Set key=value labels to the daemon", { key: "labels" }),
  option("containerd", "string", "containerd grpc address; without it, skep runs its own"),
  option("containerd-namespace", "string", "Containerd namespace to use", {
    defaultText: '"skep"',
  }),
  option("containerd-plugins-namespace", "string", "Containerd namespace to use for plugins", {
    meaning: { ignored: "managed plug-ins are not run as containers" },
  }),
  option("storage-driver", "string", "Storage driver to use", { short: "s" }),
  option("default-address-pool", "list", "Default address pools for node specific local networks", {
    key: "default-address-pools",
    valueName: "pool-options",
  }),
  option("bridge", "string", "Name of the default bridge (none = no default bridge)", {
    short: "b",
    defaultText: '"skep0"',
  }),
  option("bip", "string", "Address of the default bridge, as CIDR"),
  option("fixed-cidr", "string", "IPv4 subnet for fixed IPs of the default bridge"),
  option("mtu", "int", "MTU of the default bridge", { defaultText: "1500" }),
  option("ip", "string", "Default IP when binding container ports", { defaultText: "0.0.0.0" }),
  option("default-mesh-addr", "list", "Default addresses that the routing mesh answers on", {
    key: "default-mesh-addrs",
    defaultText: "all",
    valueName: "ip|cidr",
  }),
  option("wireguard-port", "int", "UDP port of WireGuard, for encrypted networks", {
    defaultText: "51820",
  }),
  option("dns", "list", "DNS server to use"),
  option("dns-opt", "list", "DNS options to use", { key: "dns-opts" }),
  option("dns-search", "list", "DNS search domains to use"),
  option("insecure-registry", "list", "Enable insecure registry communication", {
    key: "insecure-registries",
  }),
  option("registry-mirror", "list", "Preferred registry mirror", { key: "registry-mirrors" }),
  option("max-concurrent-downloads", "int", "Set the max concurrent downloads", {
    defaultText: "3",
  }),
  option("max-concurrent-uploads", "int", "Set the max concurrent uploads", { defaultText: "5" }),
  option("swarm-default-advertise-addr", "string", "Default address or interface for swarm"),
  option("node-generic-resource", "list", "Advertise user-defined resource", {
    key: "node-generic-resources",
  }),
  option("log-driver", "string", "Default driver for container logs", {
    defaultText: '"json-file"',
  }),
  option("log-opt", "list", "Default log driver options for containers", { key: "log-opts" }),
  option("init", "bool", "Run an init in the container to forward signals and reap processes"),
  option("init-path", "string", "Path to the init binary"),
  option("default-ulimit", "list", "Default ulimits for containers", { key: "default-ulimits" }),
  option("default-shm-size", "bytes", "Default shm size for containers", { defaultText: "64MiB" }),
  option("seccomp-profile", "string", 'Path to seccomp profile ("unconfined" or "builtin" too)', {
    defaultText: '"builtin"',
  }),
  option("no-new-privileges", "bool", "Set no-new-privileges by default for new containers"),
  option("cgroup-parent", "string", "Set parent cgroup for all containers"),
  option("metrics-addr", "string", "Set default address and port to serve the metrics api on"),
  option("shutdown-timeout", "int", "Set the default shutdown timeout", { defaultText: "15" }),
  option("tls", "bool", "Use TLS; implied by --tlsverify"),
  option("tlscacert", "string", "Trust certs signed only by this CA"),
  option("tlscert", "string", "Path to TLS certificate file"),
  option("tlskey", "string", "Path to TLS key file"),
  option("tlsverify", "bool", "Use TLS and verify the remote"),
  option("live-restore", "bool", "Keep containers alive when the daemon is down", {
    meaning: ALWAYS_ON,
  }),
  ...ignored("bool", NFTABLES, {
    iptables: "Enable addition of iptables rules",
    ip6tables: "Enable addition of ip6tables rules",
    "ip-forward": "Enable net.ipv4.ip_forward",
    "ip-masq": "Enable IP masquerading",
    "userland-proxy": "Use userland proxy for loopback traffic",
  }),
  ...ignored("string", NFTABLES, {
    "userland-proxy-path": "Path to the userland proxy binary",
    "firewall-backend": "Firewall backend to use",
  }),
  ...ignored("string", RUNC, {
    "default-runtime": "Default OCI runtime for containers",
    "default-cgroupns-mode": "Default mode for containers cgroup namespace",
    "default-ipc-mode": "Default mode for containers ipc",
  }),
  option("add-runtime", "list", "Register an additional OCI compatible runtime", {
    key: "runtimes",
    meaning: RUNC,
  }),
  option("exec-opt", "list", "Runtime execution options", { key: "exec-opts", meaning: RUNC }),
  option("storage-opt", "list", "Storage driver options", {
    key: "storage-opts",
    meaning: { ignored: "containerd's snapshotter has no such options" },
  }),
  ...ignored(
    "bool",
    { ignored: "nothing here depends on it" },
    {
      experimental: "Enable experimental features",
      "raw-logs": "Full timestamps without ANSI coloring",
      ipv6: "Enable IPv6 networking",
    },
  ),
  ...ignored(
    "string",
    { ignored: "nothing here depends on it" },
    {
      "network-control-plane-mtu": "Network Control plane MTU",
      "oom-score-adjust": "Set the oom_score_adj for the daemon",
      "max-download-attempts": "Set the max download attempts for each pull",
      "api-cors-header": "Set CORS headers in the Engine API",
    },
  ),
  refused("userns-remap", "string", "User/Group setting for user namespaces", "user namespaces"),
  refused(
    "authorization-plugin",
    "list",
    "Authorization plugins to load",
    "authorization plugins",
    {
      key: "authorization-plugins",
    },
  ),
  refused("selinux-enabled", "bool", "Enable selinux support", "SELinux labels"),
  refused("icc", "bool", "Enable inter-container communication", "isolation inside a bridge"),
];

function flagOnly(
  name: string,
  kind: FlagKind,
  usage: string,
  more: Partial<OptionSpec> = {},
): OptionSpec {
  const { key: _key, ...rest } = option(name, kind, usage, more);
  return rest;
}

function ignored(
  kind: FlagKind,
  meaning: OptionMeaning,
  usages: Readonly<Record<string, string>>,
): readonly OptionSpec[] {
  return Object.entries(usages).map(([name, usage]) => option(name, kind, usage, { meaning }));
}

function refused(
  name: string,
  kind: FlagKind,
  usage: string,
  what: string,
  more: Partial<OptionSpec> = {},
): OptionSpec {
  return option(name, kind, usage, {
    meaning: { refused: `skep does not offer ${what} yet, and will not pretend to` },
    ...more,
  });
}
