/**
 * One host of the overlay tests: the engine's networks in the network namespace that the process was
 * started in, told what to do over the channel of its parent. `node --import tsx host-process.ts FOLDER NODE`.
 */

import { join } from "node:path";
import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { messageOf } from "#base/error.ts";
import { type NetworkStore, openNetworkStore } from "#engine/networks/service.ts";
import { Overlay } from "#engine/overlay/overlay.ts";
import { OverlayTasks } from "#engine/overlay/task-networks.ts";
import { Wireguard } from "#engine/overlay/wireguard.ts";
import type { NetworkSandbox } from "#engine/ports.ts";
import { createLog } from "#platform/log.ts";
import { realClock as clock, realRandom as random } from "#platform/real-ports.ts";
import { NetworkTableSchema } from "#wire/gen/skep/dataplane_pb.js";
import { TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";

export type Order =
  | { readonly do: "tables"; readonly tables: readonly JsonValue[]; readonly port: number }
  | {
      readonly do: "attach";
      readonly sandbox: NetworkSandbox;
      readonly networks: Readonly<Record<string, readonly string[]>>;
    }
  | { readonly do: "ensure"; readonly task: JsonValue }
  | { readonly do: "detach"; readonly containerId: string }
  | { readonly do: "audit" | "status" | "restart" | "leave" }
  | { readonly do: "lookup"; readonly network: string; readonly name: string };

const [folder = "", nodeId = "", wireguardPort = "51820"] = process.argv.slice(2);
const log = createLog(process.env["SKEP_TEST_LOG"] === undefined ? "error" : "debug");
const running = new Map<string, NetworkSandbox>();
let networks: NetworkStore;
let overlay: Overlay;
let publicKey: Uint8Array | undefined;
let known: ReadonlyMap<string, JsonValue> = new Map();
let port = 0;

async function open(): Promise<void> {
  networks = await openNetworkStore({
    dataFolder: join(folder, "data"),
    runFolder: join(folder, "run"),
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
    clock,
    random,
    log,
  });
  await networks.reconcile(running);
  const wireguard = await Wireguard.open({
    keyPath: join(folder, "wireguard.pem"),
    port: Number(wireguardPort),
    clock,
    log,
  });
  overlay = new Overlay({ networks, wireguard, clock, log });
  await wireguard?.keepKeyOnDisk(true);
  publicKey = wireguard?.encryption.publicKey;
  overlay.adopt(running);
  overlay.setNode(nodeId);
}

function setTables(): Promise<void> {
  return overlay.setTables(
    new Map([...known].map(([id, table]) => [id, fromJson(NetworkTableSchema, table)])),
    port,
  );
}

async function obey(order: Order): Promise<unknown> {
  switch (order.do) {
    case "tables":
      port = order.port;
      known = new Map(
        order.tables.map((table) => [fromJson(NetworkTableSchema, table).networkId, table]),
      );
      return setTables();
    case "attach": {
      running.set(order.sandbox.containerId, order.sandbox);
      const endpoints = Object.entries(order.networks).map(([name, addresses]) => {
        const v4 = addresses.find((address) => !address.includes(":"));
        const v6 = addresses.find((address) => address.includes(":"));
        const config = {
          ...(v4 === undefined ? {} : { IPv4Address: v4 }),
          ...(v6 === undefined ? {} : { IPv6Address: v6 }),
        };
        const id = [...overlay.tables.values()].find((table) => table.name === name)?.networkId;
        // As a task's container asks for it: with network and address from the managers.
        return [name, { IPAMConfig: config, ...(id === undefined ? {} : { NetworkID: id }) }];
      });
      return networks.attach(order.sandbox, Object.fromEntries(endpoints), []);
    }
    case "ensure":
      return new OverlayTasks(overlay, clock).ensure(
        fromJson(TaskSchema, order.task),
        new AbortController().signal,
      );
    case "detach":
      running.delete(order.containerId);
      return networks.detach(order.containerId);
    case "audit":
      return overlay.audit();
    case "status":
      return overlay.status();
    case "restart":
      await overlay.close();
      networks.close();
      await open();
      return setTables();
    case "leave":
      return overlay.leave();
    case "lookup":
      return overlay.names.lookup(order.network, order.name, 4);
  }
}

await open();
process.on("message", ({ id, order }: { id: number; order: Order }) => {
  obey(order).then(
    (value) => process.send?.({ id, value }),
    (error: unknown) => process.send?.({ id, error: messageOf(error) }),
  );
});
process.on("disconnect", () => process.exit(0));
process.send?.({ id: 0, value: Buffer.from(publicKey ?? []).toString("hex") });
