/** The texts of /etc/hosts, /etc/hostname and /etc/resolv.conf inside a container. Pure. */

import type { HostConfig } from "#wire/docker/containers.ts";
import { RESOLVER_ADDRESS } from "../dns/address.ts";

const BASE_HOSTS = [
  "127.0.0.1\tlocalhost",
  "::1\tlocalhost ip6-localhost ip6-loopback",
  "fe00::\tip6-localnet",
  "ff00::\tip6-mcastprefix",
  "ff02::1\tip6-allnodes",
  "ff02::2\tip6-allrouters",
];

export interface HostsInput {
  /** The host's own file, for containers in the host's network. */
  readonly base: string | undefined;
  /** "IP name…" of what the networks gave. */
  readonly lines: readonly string[];
  /** "name:ip" or "name=ip"; "host-gateway" stands for `gateway`. */
  readonly extra: readonly string[];
  readonly gateway: string | undefined;
}

export function renderHosts({ base, lines, extra, gateway }: HostsInput): string {
  const own = extra.flatMap((text) => {
    const cut = text.search(/[:=]/);
    if (cut <= 0) return [];
    const name = text.slice(0, cut);
    const address = text.slice(cut + 1).replace(/^\[(.*)\]$/, "$1");
    const ip = address === "host-gateway" ? gateway : address;
    return ip === undefined ? [] : [`${ip}\t${name}`];
  });
  const start = base === undefined ? BASE_HOSTS : [base.trimEnd()];
  return `${[...start, ...lines, ...own].join("\n")}\n`;
}

/** The engine's settings for containers that have none of their own. */
export interface DnsDefaults {
  readonly servers: readonly string[];
  readonly search: readonly string[];
  readonly options: readonly string[];
}

export interface ResolvInput {
  readonly hostConfig: HostConfig;
  readonly defaults: DnsDefaults;
  /** The host's own file. */
  readonly host: string;
  /** What the networks gave; empty in the host's network, and without one. */
  readonly nameservers: readonly string[];
  /** Loopback resolvers of the host are reachable from the container. */
  readonly hostNetwork: boolean;
}

const PUBLIC_RESOLVERS = ["8.8.8.8", "8.8.4.4"];

export function renderResolvConf(input: ResolvInput): string {
  const { hostConfig, defaults } = input;
  const host = parseResolvConf(input.host);
  const reachable = input.hostNetwork
    ? host.nameservers
    : host.nameservers.filter((address) => !/^127\.|^::1$/.test(address));
  const fallback = reachable.length > 0 || input.hostNetwork ? reachable : PUBLIC_RESOLVERS;
  const embedded = input.nameservers.includes(RESOLVER_ADDRESS);
  // Our resolver knows of the container's own servers itself, and forwards there.
  const nameservers = firstFilled(
    embedded ? input.nameservers : [],
    hostConfig.Dns ?? [],
    defaults.servers,
    input.nameservers,
    fallback,
  );
  const search = firstFilled(hostConfig.DnsSearch ?? [], defaults.search, host.search).filter(
    (name) => name !== ".",
  );
  const wanted = firstFilled(hostConfig.DnsOptions ?? [], defaults.options, host.options);
  // Names without dots are asked as they are first: they may be containers.
  const options =
    embedded && !wanted.some((option) => option.startsWith("ndots:"))
      ? [...wanted, "ndots:0"]
      : wanted;
  const lines = nameservers.map((address) => `nameserver ${address}`);
  if (search.length > 0) lines.push(`search ${search.join(" ")}`);
  if (options.length > 0) lines.push(`options ${options.join(" ")}`);
  return `${lines.join("\n")}\n`;
}

function firstFilled(...lists: readonly (readonly string[])[]): readonly string[] {
  return lists.find((list) => list.length > 0) ?? [];
}

export function parseResolvConf(text: string): {
  readonly nameservers: readonly string[];
  readonly search: readonly string[];
  readonly options: readonly string[];
} {
  const nameservers: string[] = [];
  let search: string[] = [];
  const options: string[] = [];
  for (const line of text.split("\n")) {
    const [key, ...values] = line
      .replace(/[#;].*/, "")
      .trim()
      .split(/\s+/);
    if (key === "nameserver" && values[0] !== undefined) nameservers.push(values[0]);
    if (key === "search" || key === "domain") search = values;
    if (key === "options") options.push(...values);
  }
  return { nameservers, search, options };
}
