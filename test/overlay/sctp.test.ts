/** SCTP through the mesh and to virtual addresses: what conntrack and nftables do with it. */

import type { ChildProcess } from "node:child_process";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { NetworkSandbox } from "#engine/ports.ts";
import { PortConfig_Protocol as Protocol } from "#wire/gen/swarmkit/types_pb.js";
import { sctpAsk, sctpServer } from "../networks/sctp.ts";
import { type Fabric, type FabricHost, makeFabric, table } from "./fabric.ts";

let fabric: Fabric;
let h1: FabricHost;
let h2: FabricHost;
let web: NetworkSandbox;
let user: NetworkSandbox;
const servers: ChildProcess[] = [];

const network = (id: string, name: string, at: number, more = {}) =>
  table({
    networkId: id,
    name,
    subnets: [
      { subnet: `10.0.${at}.0/24`, gateway: `10.0.${at}.1`, vni: 4096 + at },
      { subnet: `fd00:${at + 1}::/64`, gateway: `fd00:${at + 1}::1`, vni: 4100 + at },
    ],
    peers: fabric.hosts.map(({ number, nodeId, v4 }) => ({
      nodeId,
      dataPathAddr: v4,
      addresses: [`10.0.${at}.20${number}`, `fd00:${at + 1}::20${number}`],
    })),
    endpoints: [
      ["web", 2, 11],
      ["user", 1, 12],
    ].map(([task, node, last]) => ({
      taskId: `${task}`,
      serviceId: `${task}`,
      nodeId: `node${node}`,
      addresses: [`10.0.${at}.${last}`, `fd00:${at + 1}::${last}`],
      ready: true,
    })),
    ...more,
  });

beforeAll(async () => {
  fabric = await makeFabric(2);
  [h1, h2] = fabric.hosts as [FabricHost, FabricHost];
  const ports = [{ publishedPort: 3868, targetPort: 80, protocol: Protocol.SCTP }];
  const tables = [
    network("ing00000000000000000000aa", "ingress", 0, {
      ingress: true,
      services: [{ serviceId: "web", name: "web", ports }],
    }),
    network("ov000000000000000000000aa", "ov", 1, {
      services: [{ serviceId: "web", name: "web", virtualIps: ["10.0.1.2", "fd00:2::2"] }],
    }),
  ];
  await Promise.all(fabric.hosts.map((host) => host.tables(tables)));
  web = await h2.container({
    ingress: ["10.0.0.11", "fd00:1::11"],
    ov: ["10.0.1.11", "fd00:2::11"],
  });
  user = await h1.container({ ov: ["10.0.1.12", "fd00:2::12"] });
  for (const family of [4, 6] as const) {
    servers.push(await sctpServer(web.netnsPath, family, 80, "web"));
  }
});

afterAll(async () => {
  for (const server of servers) server.kill("SIGKILL");
  await fabric?.end();
});

test("a published port answers on every host, and the server sees the client's address", () => {
  const { client } = fabric;
  for (const { v4, v6 } of [h1, h2]) {
    expect([v4, sctpAsk(client.netnsPath, v4, 3868)]).toEqual([v4, `web ${client.v4}`]);
    expect([v6, sctpAsk(client.netnsPath, v6, 3868)]).toEqual([v6, `web ${client.v6}`]);
  }
});

test("a virtual address leads to the task", () => {
  expect(sctpAsk(user.netnsPath, "10.0.1.2", 80)).toBe("web 10.0.1.12");
  expect(sctpAsk(user.netnsPath, "fd00:2::2", 80)).toBe("web fd00:2::12");
});
