/**
 * An engine's own networks on a test host, for each test anew: `store` is opened before and closed
 * after it, what containers it made are taken away, and the kernel must then be what the store says.
 */

import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect } from "vitest";
import { type NetworkStore, openNetworkStore } from "#engine/networks/service.ts";
import type { NetworkSandbox, PortRequest } from "#engine/ports.ts";
import { silentLog } from "#platform/log.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { enterHost, type TestHost } from "./host.ts";

export let host: TestHost;
export let store: NetworkStore;
export const sandboxes: NetworkSandbox[] = [];
/** "connect bridge" */
export let events: string[] = [];

/** To be called once by a file of tests. */
export function useLocalNetworks(): void {
  beforeAll(() => {
    host = enterHost();
  });

  afterAll(async () => {
    store?.close();
    await host?.leave();
  });

  beforeEach(async () => {
    store = await open();
    events = [];
  });

  afterEach(async () => {
    // Whatever a test did, the kernel has what the store thinks.
    const differences = await store.audit();
    for (const sandbox of sandboxes.splice(0)) {
      await store.detach(sandbox.containerId);
      await host.end(sandbox);
    }
    await store.prune(new Map());
    store.close();
    expect(differences).toEqual([]);
  });
}

/** As if the engine had ended and another one begun. */
export async function reopen(meanwhile: () => void = () => undefined): Promise<void> {
  store.close();
  meanwhile();
  store = await open();
}

export function open(more = {}): Promise<NetworkStore> {
  return openNetworkStore({
    dataFolder: join(host.folder, "data"),
    runFolder: join(host.folder, "run"),
    table: "skep",
    bridge: {
      name: "skep0",
      cidr: undefined,
      fixedCidr: undefined,
      mtu: 1500,
      defaultBindIp: "0.0.0.0",
    },
    addressPools: [],
    nameservers: ["192.0.2.53"],
    clock: realClock,
    random: realRandom,
    log: silentLog,
    events: {
      publish: ({ Action, Actor }) =>
        void events.push(`${Action} ${Actor.Attributes["name"] ?? ""}`),
    },
    ...more,
  });
}

export async function container(name: string): Promise<NetworkSandbox> {
  const sandbox = await host.container(name);
  sandboxes.push(sandbox);
  return sandbox;
}

export function publish(containerPort: number, hostPort: number, more = {}): PortRequest {
  return { containerPort, protocol: "tcp", hostIp: "", hostPort, ...more };
}

export async function running(name: string, ports: PortRequest[] = [], network = "bridge") {
  const sandbox = await container(name);
  const result = await store.attach(sandbox, { [network]: {} }, ports);
  return { sandbox, result, ip: result.networks[0]?.endpoint.IPAddress ?? "" };
}

/** As `reconcile` wants it. */
export function alive(...running: readonly NetworkSandbox[]): Map<string, NetworkSandbox> {
  return new Map(running.map((sandbox) => [sandbox.containerId, sandbox]));
}
