/** What addresses this machine has, read from the kernel. */

import { createSocket } from "node:dgram";
import { existsSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { EngineError, messageOf } from "#base/error.ts";
import { type HostAddresses, splitHostPort } from "./addresses.ts";

export interface HostAddressOptions {
  /** CIDRs of this engine's own networks. */
  readonly ownSubnets: () => readonly string[];
  readonly defaultAdvertiseAddr: string;
}

export function readHostAddresses(options: HostAddressOptions): HostAddresses {
  const interfaces: Record<string, { address: string; internal: boolean }[]> = {};
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    if (addresses !== undefined) {
      interfaces[name] = addresses.map(({ address, internal }) => ({ address, internal }));
    }
  }
  const devices = Object.keys(interfaces).filter((name) =>
    existsSync(`/sys/class/net/${name}/device`),
  );
  return {
    interfaces,
    devices: new Set(devices),
    ownSubnets: options.ownSubnets(),
    defaultAdvertiseAddr: options.defaultAdvertiseAddr,
  };
}

/** The address that this machine would use to reach the other; nothing is sent. */
export async function addressTowards(remote: string): Promise<string> {
  const target = splitHostPort(remote);
  const host = target?.host.replace(/^\[|\]$/g, "") ?? "";
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.connect(target?.port ?? 2377, host, resolve);
    });
    return socket.address().address;
  } catch (error) {
    throw new EngineError("unavailable", `could not find local IP address: ${messageOf(error)}`);
  } finally {
    socket.close();
  }
}
