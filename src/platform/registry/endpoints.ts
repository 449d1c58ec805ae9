/**
 * Where a repository's registry is: mirrors first for docker.io, https, and plain http only for
 * hosts that are configured as insecure or are this machine. Client certificates and roots are read
 * from the certs folder of the host, as docker keeps them.
 */

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import ipaddr from "ipaddr.js";
import { EngineError } from "#base/error.ts";
import { DEFAULT_DOMAIN } from "#wire/oci.ts";

export interface RegistryConfig {
  /** Hosts or CIDRs that may be spoken to without verified TLS. */
  readonly insecure: readonly string[];
  /** Base URLs asked before docker.io. */
  readonly mirrors: readonly string[];
  /** Folders with HOST/*.crt, *.cert, *.key, the first that has the host wins. */
  readonly certFolders: readonly string[];
}

export interface Endpoint {
  /** "https://registry-1.docker.io", without a slash at the end. */
  readonly base: string;
  readonly verifyTls: boolean;
  readonly isMirror: boolean;
}

const DOCKER_HUB = "registry-1.docker.io";

/** Endpoints in the order to try them. */
export function endpointsOf(
  domain: string,
  config: RegistryConfig,
  purpose: "pull" | "push",
): readonly Endpoint[] {
  if (domain === DEFAULT_DOMAIN) {
    const mirrors = purpose === "pull" ? config.mirrors : [];
    return [
      ...mirrors.map((url) => mirrorEndpoint(url, config)),
      { base: `https://${DOCKER_HUB}`, verifyTls: true, isMirror: false },
    ];
  }
  if (!isInsecure(domain, config)) {
    return [{ base: `https://${domain}`, verifyTls: true, isMirror: false }];
  }
  return [
    { base: `https://${domain}`, verifyTls: false, isMirror: false },
    { base: `http://${domain}`, verifyTls: false, isMirror: false },
  ];
}

function mirrorEndpoint(text: string, config: RegistryConfig): Endpoint {
  const url = parseMirror(text);
  const verifyTls = url.protocol === "https:" && !isInsecure(url.host, config);
  const base = `${url.origin}${url.pathname}`.replace(/\/+$/, "");
  return { base, verifyTls, isMirror: true };
}

function parseMirror(text: string): URL {
  try {
    const url = new URL(text);
    if (url.protocol === "http:" || url.protocol === "https:") return url;
  } catch {}
  throw new EngineError("invalid-argument", `invalid mirror: ${text} is not an http(s) URL`);
}

/** True for loopback, for configured hosts, and for addresses in configured CIDRs. */
export function isInsecure(hostPort: string, config: Pick<RegistryConfig, "insecure">): boolean {
  const host = hostPort.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1");
  if (host === "localhost" || config.insecure.includes(hostPort)) return true;
  if (config.insecure.includes(host)) return true;
  if (!ipaddr.isValid(host)) return false;
  const address = ipaddr.process(host);
  if (address.range() === "loopback") return true;
  return config.insecure.some((entry) => {
    if (!ipaddr.isValidCIDR(entry)) return false;
    const [network, bits] = ipaddr.parseCIDR(entry);
    return network.kind() === address.kind() && address.match(network, bits);
  });
}

export interface HostCertificates {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** FOLDER/HOST:PORT/{*.crt, *.cert, *.key}. */
export async function readCertificates(
  host: string,
  folders: readonly string[],
): Promise<HostCertificates> {
  for (const folder of folders) {
    const names = await readdir(join(folder, host)).catch(() => undefined);
    if (names === undefined) continue;
    const read = async (suffix: string) => {
      const matching = names.filter((name) => name.endsWith(suffix)).sort();
      const texts = matching.map((name) => readFile(join(folder, host, name), "utf8"));
      return (await Promise.all(texts)).join("\n");
    };
    const [ca, cert, key] = [await read(".crt"), await read(".cert"), await read(".key")];
    return {
      ...(ca === "" ? {} : { ca }),
      ...(cert === "" ? {} : { cert }),
      ...(key === "" ? {} : { key }),
    };
  }
  return {};
}
