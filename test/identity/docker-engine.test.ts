/** A real Docker Engine in one swarm with us: the protocol is SwarmKit's own, in both directions. */

import { readFile } from "node:fs/promises";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { must } from "#base/invariant.ts";
import { swarmPaths } from "#daemon/swarm-node/paths.ts";
import {
  ConfigSpecSchema,
  ContainerSpecSchema,
  EndpointSpecSchema,
  NetworkSpecSchema,
  NodeSpec_Availability,
  SecretSpecSchema,
  ServiceSpecSchema,
  TaskSpecSchema,
} from "#wire/gen/swarmkit/specs_pb.js";
import {
  AnnotationsSchema,
  NodeRole,
  NodeStatus_State,
  PortConfig_PublishMode,
  TaskState,
} from "#wire/gen/swarmkit/types_pb.js";
import { DEMO, DockerEngine, HAS_DOCKERD } from "./docker-engine.ts";
import {
  clusterOf,
  freePort,
  nodesOf,
  shortenCertificates,
  TestCluster,
  type TestNode,
} from "./fixtures.ts";

/** The end of patience on a busy machine. */
const PATIENT = { timeout: 60_000, interval: 200 };

describe.skipIf(!HAS_DOCKERD)("with a Docker Engine", () => {
  let cluster: TestCluster;
  let engine: DockerEngine;

  beforeEach(async () => {
    cluster = new TestCluster();
    engine = await DockerEngine.start();
  });

  afterEach(async () => {
    await cluster.close();
    await engine.stop();
  });

  test("it joins our swarm as a worker, is ready, and renews its certificate in time and when we rotate", async () => {
    const manager = await cluster.node("m1");
    await manager.init();
    await shortenCertificates(manager, 60_000);
    const { worker: token } = await clusterOf(manager);
    await joinOurs(engine, manager);
    const nodeId = await engine.docker("info", "--format", "{{.Swarm.NodeID}}");
    await expect
      .poll(async () => (await nodesOf(manager)).get(nodeId), PATIENT)
      .toMatchObject({ role: NodeRole.WORKER, status: { state: NodeStatus_State.READY } });
    // It counts in minutes, and from half of a certificate's life on: of one like this that is now.
    const first = await certificateOf(manager, nodeId);
    await expect.poll(() => certificateOf(manager, nodeId), PATIENT).not.toBe(first);
    await shortenCertificates(manager, 90 * 24 * 3_600_000);
    await rotate(manager);
    expect((await clusterOf(manager)).worker).not.toBe(token);
    expect(await engine.docker("info", "--format", "{{.Swarm.LocalNodeState}}")).toBe("active");
  });

  test("its tasks get secrets and configs, their logs are read here, it renews and is drained", async () => {
    const manager = await cluster.node("m1");
    await manager.init();
    await joinOurs(engine, manager);
    const nodeId = await engine.docker("info", "--format", "{{.Swarm.NodeID}}");
    await engine.importDemo();
    const control = manager.swarm.control();
    const named = (name: string) => create(AnnotationsSchema, { name });
    const data = (text: string) => Buffer.from(text);
    const { secret } = await control.createSecret({
      spec: create(SecretSpecSchema, { annotations: named("s"), data: data("hidden") }),
    });
    const { config } = await control.createConfig({
      spec: create(ConfigSpecSchema, { annotations: named("c"), data: data("shown") }),
    });
    const file = (name: string) => ({
      case: "file" as const,
      value: { name, uid: "0", gid: "0", mode: 0o444 },
    });
    const container = create(ContainerSpecSchema, {
      image: DEMO,
      args: ["sh", "-c", "cat /run/secrets/s /c; echo; exec sleep 1000"],
      secrets: [{ secretId: secret?.id ?? "", secretName: "s", target: file("s") }],
      configs: [{ configId: config?.id ?? "", configName: "c", target: file("/c") }],
    });
    const { service } = await control.createService({
      spec: create(ServiceSpecSchema, {
        annotations: named("web"),
        mode: { case: "replicated", value: { replicas: 1n } },
        task: {
          runtime: { case: "container", value: container },
          placement: { constraints: [`node.id==${nodeId}`] },
        },
      }),
    });
    const serviceId = service?.id ?? "";
    const states = async () => {
      const { tasks } = await control.listTasks({ filters: { serviceIds: [serviceId] } });
      return tasks.map(({ status }) => `${TaskState[status?.state ?? 0]} ${status?.err ?? ""}`);
    };
    await expect.poll(states, PATIENT).toEqual(["RUNNING "]);
    const lines = async () => {
      const said: string[] = [];
      const request = {
        selector: { serviceIds: [serviceId] },
        options: { follow: false },
      };
      for await (const { messages } of manager.swarm.logs().subscribeLogs(request)) {
        said.push(...messages.map((message) => Buffer.from(message.data).toString()));
      }
      return said.join("");
    };
    await expect.poll(lines, PATIENT).toContain("hiddenshown");
    await notPlaced(manager, nodeId);
    // A rotation of the root has it renew; what it runs goes on.
    const issued = await certificateOf(manager, nodeId);
    await rotate(manager);
    expect(await certificateOf(manager, nodeId)).not.toBe(issued);
    expect(await states()).toEqual(["RUNNING "]);
    await expect.poll(() => drained(manager, nodeId).catch(() => false), PATIENT).toBe(true);
    await expect.poll(states, PATIENT).toContain("SHUTDOWN ");
    const left = () => engine.docker("ps", "-q");
    await expect.poll(left, PATIENT).toBe("");
  });

  test("we join its swarm as a worker, follow a rotation of its root, and renew our certificate", async () => {
    const address = `127.0.0.1:${await freePort()}`;
    const settings = ["--listen-addr", address, "--advertise-addr", address];
    await engine.docker("swarm", "init", "--cert-expiry", "1h", ...settings);
    const token = await engine.docker("swarm", "join-token", "-q", "worker");
    const joined = await cluster.node("w1");
    await joined.joinAddress(address, token);
    const { nodeId, state } = joined.swarm.info();
    expect(state).toBe("active");
    const inspect = (format: string) =>
      engine.docker("node", "inspect", nodeId, "--format", format);
    expect(await inspect("{{.Description.Hostname}} {{.Status.State}} {{.Spec.Role}}")).toBe(
      "w1 ready worker",
    );
    const { nodeCert } = swarmPaths(joined.dataRoot);
    const issuer = () => inspect("{{.Description.TLSInfo.CertIssuerPublicKey}}");
    const before = await issuer();
    // A node that is away holds the rotation up: meanwhile we go on there, and come in.
    const away = await cluster.node("w2");
    await away.joinAddress(address, token);
    const awayId = away.swarm.info().nodeId;
    await away.stop();
    const oldRoot = await engine.docker("swarm", "ca");
    await engine.docker("swarm", "ca", "--rotate", "-d");
    await expect.poll(issuer, PATIENT).not.toBe(before);
    const late = await cluster.node("w3");
    await late.joinAddress(address, token);
    expect(await engine.docker("swarm", "ca")).toBe(oldRoot);
    await engine.docker("node", "rm", "--force", awayId);
    const root = () => engine.docker("swarm", "ca");
    await expect.poll(root, PATIENT).not.toBe(oldRoot);
    for (const { dataRoot } of [joined, late]) {
      const trusted = () => readFile(swarmPaths(dataRoot).rootCert, "utf8");
      await expect.poll(trusted, PATIENT).toMatch(await root());
    }
    // It lives an hour, because with another root dockerd minds the setting. By this clock that is nearly over.
    const ours = () => readFile(nodeCert, "utf8");
    const first = await ours();
    const worker = await joined.restart(50 * 60_000);
    await expect.poll(ours, PATIENT).not.toBe(first);
    await expect.poll(() => worker.swarm.info().state, PATIENT).toBe("active");
    await expect.poll(() => inspect("{{.Status.State}}"), PATIENT).toBe("ready");
    await engine.docker("node", "update", "--availability", "drain", nodeId);
    await worker.swarm.leave(false);
    await expect.poll(() => inspect("{{.Status.State}}"), PATIENT).toBe("down");
  });
});

async function joinOurs(engine: DockerEngine, manager: TestNode): Promise<void> {
  const { worker: token } = await clusterOf(manager);
  const port = await freePort();
  const listen = ["--listen-addr", `127.0.0.1:${port}`, "--advertise-addr", "127.0.0.1"];
  await engine.docker("swarm", "join", "--token", token, ...listen, manager.address);
}

/** Ends when all nodes have certificates of the new root. */
async function rotate(manager: TestNode): Promise<void> {
  const { cluster, worker: token } = await clusterOf(manager);
  const spec = must(cluster.spec, "spec");
  await manager.swarm.control().updateCluster({
    clusterId: cluster.id,
    clusterVersion: must(cluster.meta?.version, "version"),
    spec: { ...spec, caConfig: { ...must(spec.caConfig, "ca"), forceRotate: 1n } },
  });
  const tokenNow = async () => (await clusterOf(manager)).worker;
  await expect.poll(tokenNow, { timeout: 60_000, interval: 200 }).not.toBe(token);
}

async function certificateOf(manager: TestNode, nodeId: string): Promise<string> {
  const { node } = await manager.swarm.control().getNode({ nodeId });
  return Buffer.from(node?.certificate?.certificate ?? []).toString();
}

async function drained(manager: TestNode, nodeId: string): Promise<boolean> {
  const { node } = await manager.swarm.control().getNode({ nodeId });
  await manager.swarm.control().updateNode({
    nodeId,
    nodeVersion: must(node?.meta?.version, "version"),
    spec: { ...must(node?.spec, "spec"), availability: NodeSpec_Availability.DRAIN },
  });
  return true;
}

/** Networks of the swarm do not reach a Docker Engine, nor does the mesh: what needs them is not placed there. */
async function notPlaced(manager: TestNode, nodeId: string): Promise<void> {
  const control = manager.swarm.control();
  const named = (name: string) => create(AnnotationsSchema, { name });
  const { network } = await control.createNetwork({
    spec: create(NetworkSpecSchema, {
      annotations: named("net"),
      driverConfig: { name: "overlay" },
    }),
  });
  const networks = [{ target: network?.id ?? "" }];
  const published = { targetPort: 80, publishedPort: 8080 };
  const ports = [{ ...published, publishMode: PortConfig_PublishMode.INGRESS }];
  for (const [name, attached, opened] of [
    ["on-net", networks, []],
    ["published", [], ports],
  ] as const) {
    const task = create(TaskSpecSchema, {
      runtime: { case: "container", value: { image: DEMO } },
      placement: { constraints: [`node.id==${nodeId}`] },
      networks: [...attached],
    });
    const mode = { case: "replicated", value: { replicas: 1n } } as const;
    const spec = create(ServiceSpecSchema, { annotations: named(name), mode, task });
    const { service } = await control.createService({
      spec: { ...spec, endpoint: create(EndpointSpecSchema, { ports: [...opened] }) },
    });
    const filters = { serviceIds: [service?.id ?? ""] };
    const told = async () => (await control.listTasks({ filters })).tasks[0]?.status?.err;
    await expect.poll(told, PATIENT).toContain("networks of the swarm do not reach 1 node");
  }
}
