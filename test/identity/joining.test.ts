/** Who gets into a swarm and who does not, with real certificates over real sockets. */

import { afterEach, beforeEach, expect, test } from "vitest";
import { leafProfile, rootValidity } from "#pki/profile.ts";
import { openChannel } from "#platform/grpc/client.ts";
import { realRandom } from "#platform/real-ports.ts";
import {
  createRequest,
  createRoot,
  generateKey,
  issueCertificate,
  readRequest,
} from "#platform/x509/issue.ts";
import { Control } from "#wire/gen/swarmkit/control_pb.js";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { clusterOf, nodesOf, TestCluster, type TestNode } from "./fixtures.ts";

let cluster: TestCluster;
let manager: TestNode;

beforeEach(async () => {
  cluster = new TestCluster();
  manager = await cluster.node("m1");
});

afterEach(() => cluster.close());

test("init makes a manager that answers, once", async () => {
  expect(manager.swarm.info().state).toBe("inactive");
  expect(() => manager.swarm.control()).toThrow('Use "docker swarm init"');
  await expect(manager.swarm.leave(true)).rejects.toThrow("This node is not part of a swarm");
  const nodeId = await manager.init();
  expect(manager.swarm.info()).toMatchObject({
    state: "active",
    nodeId,
    nodeAddr: "127.0.0.1",
    controlAvailable: true,
    error: "",
  });
  const { worker, cluster: object } = await clusterOf(manager);
  expect(worker).toMatch(/^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/);
  expect(object).toMatchObject({ subnetSize: 24, VXLANUDPPort: 4789 });
  const { networks } = await manager.swarm.control().listNetworks({});
  expect(networks.map((network) => network.spec?.annotations?.name)).toContain("ingress");
  await expect(manager.init()).rejects.toThrow("already part of a swarm");
  await expect(manager.join(manager, worker)).rejects.toThrow("already part of a swarm");
});

test("a worker joins with its token, cannot do what managers do, and leaves", async () => {
  await manager.init();
  const { worker: token } = await clusterOf(manager);
  const worker = await cluster.node("w1");
  await worker.join(manager, token);
  const { nodeId, remoteManagers, state } = worker.swarm.info();
  expect(state).toBe("active");
  expect(remoteManagers).toEqual([{ nodeId: manager.swarm.localNodeId(), addr: manager.address }]);
  expect(() => worker.swarm.control()).toThrow("Worker nodes can't be used");
  expect((await nodesOf(manager)).get(nodeId)).toMatchObject({
    role: NodeRole.WORKER,
    description: { hostname: "w1" },
    status: { addr: "127.0.0.1" },
  });
  await worker.swarm.leave(false);
  expect(worker.swarm.info()).toMatchObject({ state: "inactive", nodeId: "" });
  await worker.join(manager, token);
  expect(worker.swarm.localNodeId()).not.toBe(nodeId);
});

test("wrong tokens are refused with the reason, and leave nothing behind", async () => {
  await manager.init();
  const { worker: token } = await clusterOf(manager);
  const stranger = await cluster.node("w1");
  const wrongSecret = token.slice(0, -25) + "0".repeat(25);
  const wrongRoot = `SWMTKN-1-${"1".repeat(50)}-${token.slice(-25)}`;
  await expect(stranger.join(manager, "nonsense")).rejects.toMatchObject({
    code: "invalid-argument",
    message: "invalid join token",
  });
  await expect(stranger.join(manager, wrongRoot)).rejects.toThrow(
    "remote CA does not match fingerprint. Expected: ",
  );
  await expect(stranger.join(manager, wrongSecret)).rejects.toMatchObject({
    code: "invalid-argument",
    message:
      "rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster",
  });
  expect(stranger.swarm.info()).toMatchObject({ state: "inactive", error: "" });
  expect((await nodesOf(manager)).size).toBe(1);
  await stranger.join(manager, token);
});

test("a certificate of another root opens nothing, whatever it says", async () => {
  await manager.init();
  const { cluster: object } = await clusterOf(manager);
  const root = await createRoot(rootValidity(Date.now()), realRandom);
  const key = generateKey();
  const profile = leafProfile(
    { nodeId: manager.swarm.localNodeId(), role: NodeRole.MANAGER, clusterId: object.id },
    Date.now(),
    0,
  );
  const request = await readRequest(await createRequest(key, ""));
  const forged = await issueCertificate(root, request, profile, realRandom);
  const channel = openChannel({
    target: manager.address,
    serverName: "swarm-manager",
    tls: {
      ca: Buffer.from(object.rootCa?.caCert ?? []).toString(),
      cert: forged,
      key: key.export({ type: "pkcs8", format: "pem" }) as string,
    },
  });
  try {
    await expect(channel.client(Control).listNodes({})).rejects.toMatchObject({
      code: "permission-denied",
    });
  } finally {
    channel.close();
  }
});

test("the last manager leaves only when forced, and then the swarm is gone", async () => {
  await manager.init();
  await expect(manager.swarm.leave(false)).rejects.toThrow(
    "Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message.",
  );
  await manager.swarm.leave(true);
  expect(manager.swarm.info().state).toBe("inactive");
  await manager.init();
  expect((await nodesOf(manager)).size).toBe(1);
});

test("a removed node is shut out at once, and may come back only as somebody new", async () => {
  await manager.init();
  const { worker: token } = await clusterOf(manager);
  const worker = await cluster.node("w1");
  await worker.join(manager, token);
  const nodeId = worker.swarm.localNodeId();
  const control = manager.swarm.control();
  await expect(control.removeNode({ nodeId })).rejects.toThrow("is not down and can't be removed");
  await control.removeNode({ nodeId, force: true });
  const resources = worker.swarm.resources();
  await expect
    .poll(
      () => resources.detachNetwork({ attachmentId: "x" }).catch((error: Error) => error.message),
      {
        timeout: 5_000,
      },
    )
    .toContain(`node ${nodeId} was removed from swarm`);
  await worker.swarm.leave(false);
  await worker.join(manager, token);
  expect((await nodesOf(manager)).has(nodeId)).toBe(false);
});
