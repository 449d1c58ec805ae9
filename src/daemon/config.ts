/**
 * The daemon's configuration: flags and `daemon.json` merged by dockerd's rules (an option given in
 * both is refused, unknown keys are refused by name). Pure but for `readConfigFile`; what comes out
 * is complete: every field has its value.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseBytes } from "#base/bytes.ts";
import { EngineError, messageOf } from "#base/error.ts";
import { err, ok, type Result } from "#base/result.ts";
import { type FlagValues, parseFlags } from "#cli/pflag.ts";
import { parseMeshAddresses } from "#model/mesh-addresses.ts";
import { isMissing } from "#platform/missing.ts";
import { DAEMON_OPTIONS, type OptionSpec } from "./options.ts";

export interface AddressPool {
  /** CIDR. */
  readonly base: string;
  /** Prefix length of the networks cut from it. */
  readonly size: number;
}

export interface TlsFiles {
  readonly verify: boolean;
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface DaemonConfig {
  readonly configFile: string;
  readonly hosts: readonly string[];
  readonly dataRoot: string;
  readonly execRoot: string;
  readonly pidFile: string;
  readonly group: string | undefined;
  readonly debug: boolean;
  readonly logLevel: "debug" | "info" | "warn" | "error" | "fatal";
  /** key=value lines shown as engine labels. */
  readonly labels: readonly string[];
  /** An existing containerd's socket; undefined = run our own under the roots. */
  readonly containerdAddress: string | undefined;
  readonly containerdNamespace: string;
  readonly snapshotter: string;
  readonly addressPools: readonly AddressPool[];
  readonly bridge: {
    readonly name: string;
    readonly cidr: string | undefined;
    readonly fixedCidr: string | undefined;
    readonly mtu: number;
    readonly defaultBindIp: string;
  };
  /** CIDRs of this host's addresses that the routing mesh answers on; empty = all. */
  readonly meshAddresses: readonly string[];
  /** UDP port of WireGuard, for encrypted networks. */
  readonly wireguardPort: number;
  readonly dns: {
    readonly servers: readonly string[];
    readonly options: readonly string[];
    readonly search: readonly string[];
  };
  readonly registry: {
    readonly insecure: readonly string[];
    readonly mirrors: readonly string[];
    readonly maxDownloads: number;
    readonly maxUploads: number;
  };
  readonly swarmDefaultAdvertiseAddr: string | undefined;
  readonly genericResources: readonly string[];
  readonly logDriver: string;
  readonly logOptions: Readonly<Record<string, string>>;
  readonly init: boolean;
  readonly initPath: string | undefined;
  readonly defaultUlimits: readonly string[];
  readonly shmSizeBytes: number;
  readonly cgroupParent: string | undefined;
  /** "builtin", "unconfined" or the path of a profile, for containers that name none. */
  readonly seccompProfile: string;
  readonly noNewPrivileges: boolean;
  readonly shutdownTimeoutSeconds: number;
  /** Where the metrics are served; undefined = nowhere. */
  readonly metricsAddr: { readonly host: string; readonly port: number } | undefined;
  readonly tls: TlsFiles | undefined;
}

export interface LoadedConfig {
  readonly config: DaemonConfig;
  /** Options that were given and change nothing here, a sentence each. */
  readonly warnings: readonly string[];
  readonly action: "run" | "validate" | "version" | "help";
}

type FileValues = Readonly<Record<string, unknown>>;

/** Flags and the file's content (undefined = there is none) to a configuration. */
export function resolveConfig(
  argv: readonly string[],
  readFileValues: (path: string, required: boolean) => Result<FileValues>,
): Result<LoadedConfig> {
  const parsed = parseFlags(DAEMON_OPTIONS, argv, { interspersed: true });
  if (!parsed.ok) return parsed;
  const { flags, args } = parsed.value;
  if (args.length > 0) return err(`"skep engine" accepts no arguments, got ${args.join(" ")}`);
  const configFile = flags.string("config-file") ?? "/etc/skep/daemon.json";
  const file = readFileValues(configFile, flags.has("config-file"));
  if (!file.ok) return file;
  const problem = fileProblem(configFile, file.value, flags);
  if (problem !== undefined) return err(problem);
  const values = new OptionValues(flags, file.value);
  const refusal = values.refusal();
  if (refusal !== undefined) return err(refusal);
  const action = (["help", "version", "validate"] as const).find((name) => flags.bool(name));
  try {
    return ok({
      config: build(configFile, values),
      warnings: values.warnings(),
      action: action ?? "run",
    });
  } catch (error) {
    return err(messageOf(error));
  }
}

function fileProblem(path: string, file: FileValues, flags: FlagValues): string | undefined {
  const known = new Set(DAEMON_OPTIONS.flatMap((option) => option.key ?? []));
  const unknown = Object.keys(file).filter((key) => !known.has(key) && key !== "features");
  if (unknown.length > 0) {
    return `unable to configure the daemon with file ${path}: the following directives don't match any configuration option: ${unknown.join(", ")}`;
  }
  const twice = DAEMON_OPTIONS.filter(
    (option) => option.key !== undefined && option.key in file && flags.has(option.name),
  ).map(
    (option) =>
      `${option.key ?? option.name}: (from flag: ${show(flags, option)}, from file: ${asGoPrints(file[option.key ?? ""])})`,
  );
  if (twice.length > 0) {
    return `unable to configure the daemon with file ${path}: the following directives are specified both as a flag and in the configuration file: ${twice.join(", ")}`;
  }
  return undefined;
}

function show(flags: FlagValues, option: OptionSpec): string {
  return option.kind === "list"
    ? `[${flags.list(option.name).join(" ")}]`
    : (flags.string(option.name) ?? "");
}

/** Go's %v of what JSON holds. */
function asGoPrints(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(asGoPrints).join(" ")}]`;
  if (typeof value !== "object" || value === null) return String(value);
  const pairs = Object.entries(value).map(([key, item]) => `${key}:${asGoPrints(item)}`);
  return `map[${pairs.toSorted().join(" ")}]`;
}

/** One option's value, wherever it was given. */
class OptionValues {
  readonly #flags: FlagValues;
  readonly #file: FileValues;

  constructor(flags: FlagValues, file: FileValues) {
    this.#flags = flags;
    this.#file = file;
  }

  string(name: string): string | undefined {
    const value = this.#flags.string(name) ?? this.#fromFile(name);
    if (value === undefined) return undefined;
    if (typeof value === "string" || typeof value === "number") return String(value);
    throw new EngineError("invalid-argument", `${name} must be a string in the configuration file`);
  }

  bool(name: string): boolean {
    if (this.#flags.has(name)) return this.#flags.bool(name);
    const value = this.#fromFile(name) ?? false;
    if (typeof value === "boolean") return value;
    throw new EngineError(
      "invalid-argument",
      `${name} must be true or false in the configuration file`,
    );
  }

  int(name: string, fallback: number): number {
    const text = this.string(name);
    if (text === undefined) return fallback;
    const value = Number(text);
    if (!Number.isInteger(value)) {
      throw new EngineError("invalid-argument", `${name} must be a whole number, not ${text}`);
    }
    return value;
  }

  list(name: string): readonly string[] {
    if (this.#flags.has(name)) return this.#flags.list(name);
    const value = this.#fromFile(name);
    if (value === undefined) return [];
    if (Array.isArray(value)) return value.map(listItem);
    if (typeof value === "object" && value !== null) {
      return Object.entries(value).map(([key, item]) => `${key}=${listItem(item)}`);
    }
    throw new EngineError("invalid-argument", `${name} must be a list in the configuration file`);
  }

  refusal(): string | undefined {
    for (const option of this.#given()) {
      if (option.meaning !== "used" && "refused" in option.meaning && this.#isOn(option)) {
        return `--${option.name} is not supported: ${option.meaning.refused}`;
      }
    }
    return undefined;
  }

  warnings(): readonly string[] {
    return this.#given().flatMap((option) =>
      option.meaning !== "used" && "ignored" in option.meaning
        ? [`--${option.name} has no effect: ${option.meaning.ignored}`]
        : [],
    );
  }

  /** `--selinux-enabled=false` and `--icc` (true) ask for what we do anyway. */
  #isOn(option: OptionSpec): boolean {
    const isDefault = option.name === "icc";
    return option.kind !== "bool" || this.bool(option.name) !== isDefault;
  }

  #given(): readonly OptionSpec[] {
    return DAEMON_OPTIONS.filter(
      (option) =>
        this.#flags.has(option.name) || (option.key !== undefined && option.key in this.#file),
    );
  }

  #fromFile(name: string): unknown {
    const key = DAEMON_OPTIONS.find((option) => option.name === name)?.key;
    return key === undefined ? undefined : this.#file[key];
  }
}

/** daemon.json writes pools and ulimits as objects where flags write `k=v,k=v`. */
function listItem(item: unknown): string {
  if (typeof item !== "object" || item === null) return String(item);
  return Object.entries(item)
    .map(([key, value]) => `${key.toLowerCase()}=${String(value)}`)
    .join(",");
}

function build(configFile: string, values: OptionValues): DaemonConfig {
  const dataRoot = values.string("data-root") ?? values.string("graph") ?? "/var/lib/skep";
  const execRoot = values.string("exec-root") ?? "/run/skep";
  const hosts = values.list("host");
  const debug = values.bool("debug");
  return {
    configFile,
    hosts: hosts.length > 0 ? hosts : [`unix://${join(execRoot, "skep.sock")}`],
    dataRoot,
    execRoot,
    pidFile: values.string("pidfile") ?? join(execRoot, "skep.pid"),
    group: values.string("group"),
    debug,
    logLevel: debug ? "debug" : logLevel(values.string("log-level") ?? "info"),
    labels: values.list("label").map(label),
    containerdAddress: values.string("containerd"),
    containerdNamespace: values.string("containerd-namespace") ?? "skep",
    snapshotter: snapshotter(values.string("storage-driver") ?? "overlay2"),
    addressPools: values.list("default-address-pool").map(addressPool),
    bridge: {
      name: values.string("bridge") ?? "skep0",
      cidr: values.string("bip"),
      fixedCidr: values.string("fixed-cidr"),
      mtu: values.int("mtu", 1500),
      defaultBindIp: values.string("ip") ?? "0.0.0.0",
    },
    meshAddresses: meshAddresses(values.list("default-mesh-addr")),
    wireguardPort: port("wireguard-port", values.int("wireguard-port", 51_820)),
    dns: {
      servers: values.list("dns"),
      options: values.list("dns-opt"),
      search: values.list("dns-search"),
    },
    registry: {
      insecure: values.list("insecure-registry"),
      mirrors: values.list("registry-mirror"),
      maxDownloads: values.int("max-concurrent-downloads", 3),
      maxUploads: values.int("max-concurrent-uploads", 5),
    },
    swarmDefaultAdvertiseAddr: values.string("swarm-default-advertise-addr"),
    genericResources: values.list("node-generic-resource"),
    logDriver: values.string("log-driver") ?? "json-file",
    logOptions: Object.fromEntries(values.list("log-opt").map((item) => pair(item, "log-opt"))),
    init: values.bool("init"),
    initPath: values.string("init-path"),
    defaultUlimits: values.list("default-ulimit"),
    shmSizeBytes: bytes(values.string("default-shm-size") ?? "64m"),
    cgroupParent: values.string("cgroup-parent"),
    seccompProfile: values.string("seccomp-profile") || "builtin",
    noNewPrivileges: values.bool("no-new-privileges"),
    shutdownTimeoutSeconds: values.int("shutdown-timeout", 15),
    metricsAddr: metricsAddr(values.string("metrics-addr") ?? ""),
    tls: tlsFiles(values),
  };
}

function port(name: string, value: number): number {
  if (value > 0 && value <= 65_535) return value;
  throw new EngineError("invalid-argument", `${name} must be between 1 and 65535, not ${value}`);
}

function meshAddresses(list: readonly string[]): readonly string[] {
  if (list.length === 0) return [];
  const parsed = parseMeshAddresses(list.join());
  if (!parsed.ok) {
    throw new EngineError("invalid-argument", `invalid default-mesh-addr: ${parsed.error}`);
  }
  return parsed.value;
}

/** "127.0.0.1:9323", ":9323", "[::1]:9323" */
function metricsAddr(text: string): DaemonConfig["metricsAddr"] {
  if (text === "") return undefined;
  const [, inBrackets, plain = "", port = ""] =
    /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(text) ?? [];
  if (port === "" || Number(port) > 65_535) {
    throw new EngineError("invalid-argument", `invalid metrics-addr ${text}: say ADDRESS:PORT`);
  }
  return { host: inBrackets ?? plain, port: Number(port) };
}

function logLevel(text: string): DaemonConfig["logLevel"] {
  const levels = ["debug", "info", "warn", "error", "fatal"] as const;
  const level = levels.find((known) => known === text);
  if (level === undefined) {
    throw new EngineError("invalid-argument", `invalid logging level: ${text}`);
  }
  return level;
}

function snapshotter(driver: string): string {
  if (driver === "overlay2" || driver === "overlay" || driver === "overlayfs") return "overlayfs";
  if (driver === "vfs" || driver === "native") return "native";
  throw new EngineError(
    "invalid-argument",
    `storage driver ${driver} is not supported; use overlay2 or vfs`,
  );
}

function label(text: string): string {
  if (!text.includes("=")) {
    throw new EngineError("invalid-argument", `bad attribute format: ${text}`);
  }
  return text;
}

function addressPool(text: string): AddressPool {
  const fields = Object.fromEntries(text.split(",").map((item) => pair(item, "address pool")));
  const size = Number(fields.size);
  if (fields.base === undefined || !Number.isInteger(size)) {
    throw new EngineError(
      "invalid-argument",
      `invalid default address pool ${JSON.stringify(text)}: say base=CIDR,size=BITS`,
    );
  }
  return { base: fields.base, size };
}

function pair(text: string, what: string): readonly [string, string] {
  const equals = text.indexOf("=");
  if (equals < 1) throw new EngineError("invalid-argument", `invalid ${what}: ${text}`);
  return [text.slice(0, equals), text.slice(equals + 1)];
}

function bytes(text: string): number {
  const parsed = parseBytes(text);
  if (!parsed.ok) throw new EngineError("invalid-argument", parsed.error);
  return parsed.value;
}

function tlsFiles(values: OptionValues): TlsFiles | undefined {
  const verify = values.bool("tlsverify");
  if (!verify && !values.bool("tls")) return undefined;
  const home = "/etc/skep";
  return {
    verify,
    ca: values.string("tlscacert") ?? join(home, "ca.pem"),
    cert: values.string("tlscert") ?? join(home, "cert.pem"),
    key: values.string("tlskey") ?? join(home, "key.pem"),
  };
}

/** Reads and parses daemon.json; a missing file is empty unless it was asked for by name. */
export function readConfigFile(path: string, required: boolean): Result<FileValues> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (!required && isMissing(error)) return ok({});
    return err(`unable to configure the daemon with file ${path}: ${messageOf(error)}`);
  }
  if (text.trim() === "") return ok({});
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      return ok(value as FileValues);
    }
    return err(`unable to configure the daemon with file ${path}: it must hold a JSON object`);
  } catch (error) {
    return err(`unable to configure the daemon with file ${path}: ${messageOf(error)}`);
  }
}
