import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import {
  CreateConfigRequestSchema,
  CreateNetworkRequestSchema,
  CreateSecretRequestSchema,
  GetConfigRequestSchema,
  GetSecretRequestSchema,
  ListNodesRequestSchema,
  ListSecretsRequestSchema,
  ListTasksRequestSchema,
  RemoveNetworkRequestSchema,
  RemoveNodeRequestSchema,
  RemoveSecretRequestSchema,
  UpdateNodeRequestSchema,
  UpdateSecretRequestSchema,
} from "#wire/gen/swarmkit/control_pb.js";
import { TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeRole, NodeStatus_State, TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { createConfig, getConfig } from "./configs.ts";
import { createNetwork, removeNetwork } from "./networks.ts";
import { listNodes, removeNode, updateNode } from "./nodes.ts";
import { createSecret, getSecret, listSecrets, removeSecret, updateSecret } from "./secrets.ts";
import { listTasks } from "./tasks.ts";
import {
  aCluster,
  aNode,
  aService,
  type Fixture,
  fixture,
  member,
  refusalOf,
} from "./testing/fixture.ts";

const data = new TextEncoder().encode("hunter2");

describe("secrets", () => {
  const secret = (name: string, bytes = data) =>
    create(CreateSecretRequestSchema, { spec: { annotations: { name }, data: bytes } });

  test("never come back", async () => {
    const context = fixture();
    const made = await createSecret(context, secret("pw"));
    const id = made.secret?.id ?? "";
    const read = await getSecret(context, create(GetSecretRequestSchema, { secretId: id }));
    const listed = await listSecrets(context, create(ListSecretsRequestSchema));
    for (const shown of [made.secret, read.secret, listed.secrets[0]]) {
      expect(shown?.spec?.data).toHaveLength(0);
    }
    expect(context.state.view().get("secret", id)?.spec?.data).toEqual(data);
  });

  test.each([
    [secret(""), "name must be provided"],
    [
      secret("a b"),
      "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]",
    ],
    [secret("x", new Uint8Array()), "secret data must be larger than 0 and less than 512000 bytes"],
    [
      secret("x", new Uint8Array(512_000)),
      "secret data must be larger than 0 and less than 512000 bytes",
    ],
    [
      create(CreateSecretRequestSchema, { spec: { annotations: { name: "x" }, driver: {} } }),
      "secret driver must have a name",
    ],
  ])("are refused with %#", async (request, message) => {
    expect(await refusalOf(createSecret(fixture(), request))).toBe(`invalid-argument: ${message}`);
  });

  test("of a driver are refused: there is none", async () => {
    const spec = { annotations: { name: "x" }, driver: { name: "vault" } };
    const request = create(CreateSecretRequestSchema, { spec });
    expect(await refusalOf(createSecret(fixture(), request))).toBe(
      'unknown: plugin "vault" not found',
    );
  });

  test("take a name once, change only labels, and stay while used", async () => {
    const context = fixture();
    const { secret: made } = await createSecret(context, secret("pw"));
    const secretId = made?.id ?? "";
    expect(await refusalOf(createSecret(context, secret("pw")))).toBe(
      "already-exists: secret pw already exists",
    );
    const update = (spec: object) =>
      updateSecret(
        context,
        create(UpdateSecretRequestSchema, { secretId, secretVersion: made?.meta?.version, spec }),
      );
    const only = "invalid-argument: only updates to Labels are allowed";
    expect(await refusalOf(update({ annotations: { name: "other" } }))).toBe(only);
    expect(
      await refusalOf(update({ annotations: { name: "pw" }, data: new Uint8Array([1]) })),
    ).toBe(only);
    const labelled = await update({ annotations: { name: "pw", labels: { a: "b" } } });
    expect(labelled.secret?.spec?.annotations?.labels).toEqual({ a: "b" });
    expect(context.state.view().get("secret", secretId)?.spec?.data).toEqual(data);
    await aService(context, {
      task: {
        runtime: {
          case: "container",
          value: {
            image: "x",
            secrets: [
              { secretId, secretName: "pw", target: { case: "file", value: { name: "f" } } },
            ],
          } as never,
        },
      },
    });
    const removal = create(RemoveSecretRequestSchema, { secretId });
    expect(await refusalOf(removeSecret(context, removal))).toBe(
      "invalid-argument: secret 'pw' is in use by the following service: web",
    );
  });
});

test("configs can be read back", async () => {
  const context = fixture();
  const request = create(CreateConfigRequestSchema, { spec: { annotations: { name: "c" }, data } });
  const { config } = await createConfig(context, request);
  const read = await getConfig(
    context,
    create(GetConfigRequestSchema, { configId: config?.id ?? "" }),
  );
  expect(read.config?.spec?.data).toEqual(data);
});

describe("networks", () => {
  const network = (spec: object) =>
    create(CreateNetworkRequestSchema, {
      spec: { annotations: { name: "net" }, driverConfig: { name: "overlay" }, ...spec },
    });
  const pool = (config: object) => network({ ipam: { configs: [config] } });

  test.each([
    [network({ attachable: true, ingress: true }), "ingress network cannot be attachable"],
    [network({ driverConfig: {} }), "driver name: if driver is specified name is required"],
    [network({ driverConfig: { name: "who" } }), "error during lookup of plugin who"],
    [pool({ subnet: "x" }), "ipam configuration: invalid subnet x"],
    [pool({ subnet: "10.0.0.0/24", range: "y" }), "ipam configuration: invalid range y"],
    [
      pool({ subnet: "10.0.0.0/24", range: "10.1.0.0/25" }),
      "ipam configuration: subnet 10.0.0.0/24 does not contain range 10.1.0.0/25",
    ],
    [pool({ subnet: "10.0.0.0/24", gateway: "1" }), "ipam configuration: invalid gateway 1"],
    [
      pool({ subnet: "10.0.0.0/24", gateway: "fd00::1" }),
      "ipam configuration: subnet 10.0.0.0/24 does not contain gateway fd00::1",
    ],
  ])("are refused with %#", async (request, message) => {
    expect(await refusalOf(createNetwork(fixture(), request))).toBe(`invalid-argument: ${message}`);
  });

  test("of a plugin go when the plugin has let go, and stay when it cannot hear of it", async () => {
    const context = fixture();
    const request = network({ driverConfig: { name: "remote-net" } });
    const id = (await createNetwork(context, request)).network?.id ?? "";
    const removal = create(RemoveNetworkRequestSchema, { networkId: id });
    const free = () => Promise.reject(new Error("it is gone"));
    const deaf = { ...context, plugins: { ...context.plugins, free } };
    expect(await refusalOf(removeNetwork(deaf, removal))).toBe(
      "failed-precondition: failed deleting Network: it is gone: the network stays until its plugin is there to hear of it",
    );
    expect(context.state.view().get("network", id)?.allocationError).toBe(
      'waits for the plugin "remote-net"',
    );
    expect(await refusalOf(removeNetwork(context, removal))).toBe("ok");
    expect(context.freed).toEqual([id]);
    expect(context.state.view().get("network", id)).toBeUndefined();
  });

  test("may use a plugin that is there", async () => {
    const request = network({ driverConfig: { name: "remote-net" } });
    expect(await refusalOf(createNetwork(fixture(), request))).toBe("ok");
  });

  test("have one ingress, and one of each name", async () => {
    const context = fixture();
    const { network: first } = await createNetwork(context, network({ ingress: true }));
    expect(await refusalOf(createNetwork(context, network({ ingress: true })))).toBe(
      `already-exists: ingress network (${first?.id}) is already present`,
    );
    expect(await refusalOf(createNetwork(context, network({})))).toBe(
      "already-exists: network with name net already exists",
    );
  });

  test("keep off each other's addresses, unless each node has its own", async () => {
    const context = fixture();
    const at = (name: string, subnets: readonly string[], driver = "overlay") =>
      network({
        annotations: { name },
        driverConfig: { name: driver },
        ipam: { configs: subnets.map((subnet) => ({ subnet })) },
      });
    const overlaps =
      "failed-precondition: invalid pool request: Pool overlaps with other one on this address space";
    expect(await refusalOf(createNetwork(context, at("a", ["10.5.0.0/24"])))).toBe("ok");
    expect(await refusalOf(createNetwork(context, at("b", ["10.5.0.128/25"])))).toBe(overlaps);
    expect(await refusalOf(createNetwork(context, at("b", ["10.4.0.0/14"])))).toBe(overlaps);
    expect(await refusalOf(createNetwork(context, at("b", ["10.6.0.0/24", "10.6.0.0/25"])))).toBe(
      overlaps,
    );
    expect(await refusalOf(createNetwork(context, at("b", ["10.5.1.0/24"])))).toBe("ok");
    expect(await refusalOf(createNetwork(context, at("c", ["10.5.0.0/24"], "macvlan")))).toBe("ok");
  });

  test("stay while a service or a live task is on them", async () => {
    const context = fixture();
    const { network: made } = await createNetwork(context, network({}));
    const networkId = made?.id ?? "";
    const removal = create(RemoveNetworkRequestSchema, { networkId });
    const { id } = await aService(context, {
      task: {
        networks: [{ target: networkId }],
        runtime: { case: "container", value: { image: "x" } as never },
      },
    });
    expect(await refusalOf(removeNetwork(context, removal))).toBe(
      `failed-precondition: network ${networkId} is in use by service ${id}`,
    );
    const task = create(TaskSchema, {
      id: "t1",
      desiredState: TaskState.RUNNING,
      status: { state: TaskState.RUNNING },
      networks: [{ network: { id: networkId } }],
    });
    await context.state.update("leader", (tx) => {
      tx.delete("service", id);
      tx.create("task", task);
    });
    expect(await refusalOf(removeNetwork(context, removal))).toBe(
      `failed-precondition: network ${networkId} is in use by task t1`,
    );
    await context.state.update("orchestrator", (tx) => {
      const stored = tx.get("task", "t1");
      if (stored) tx.update("task", { ...stored, desiredState: TaskState.REMOVE });
    });
    expect(await refusalOf(removeNetwork(context, removal))).toBe("ok");
  });
});

describe("nodes", () => {
  const update = (context: Fixture, nodeId: string, spec: object) =>
    updateNode(
      context,
      create(UpdateNodeRequestSchema, {
        nodeId,
        nodeVersion: context.state.view().get("node", nodeId)?.meta?.version,
        spec,
      }),
    );
  const remove = (context: Fixture, nodeId: string, force = false) =>
    removeNode(context, create(RemoveNodeRequestSchema, { nodeId, force }));
  const manager = { spec: { desiredRole: NodeRole.MANAGER } };

  test("the last manager cannot be demoted, nor one that the quorum needs", async () => {
    const context = fixture();
    await aNode(context, "m1", manager);
    const demotion = () => refusalOf(update(context, "m1", { desiredRole: NodeRole.WORKER }));
    expect(await demotion()).toBe(
      "failed-precondition: attempting to demote the last manager of the swarm",
    );
    await aNode(context, "m2", manager);
    expect(await demotion()).toBe("not-found: can't find manager in raft memberlist");
    context.raft.push(member("m1"), member("m2", true));
    context.quorumHolds = false;
    expect(await demotion()).toBe(
      "failed-precondition: can't remove member from the raft: this would result in a loss of quorum",
    );
    context.quorumHolds = true;
    expect(await demotion()).toBe("ok");
  });

  test("are removed when they are down, or by force; managers not at all", async () => {
    const context = fixture();
    await aCluster(context);
    await aNode(context, "m1", manager);
    context.raft.push(member("m1", true));
    await aNode(context, "w1");
    expect(await refusalOf(remove(context, "m1", true))).toBe(
      "failed-precondition: node m1 is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal",
    );
    expect(await refusalOf(remove(context, "w1"))).toBe(
      "failed-precondition: node w1 is not down and can't be removed",
    );
    await context.state.update("orchestrator", (tx) => {
      for (const [id, state] of [
        ["run", TaskState.RUNNING],
        ["done", TaskState.FAILED],
      ] as const) {
        tx.create("task", create(TaskSchema, { id, nodeId: "w1", status: { state } }));
      }
    });
    expect(await refusalOf(remove(context, "w1", true))).toBe("ok");
    const view = context.state.view();
    expect(view.get("node", "w1")).toBeUndefined();
    expect(view.get("cluster", "cluster1")?.blacklistedCertificates).toHaveProperty("w1");
    expect(view.get("task", "run")?.status?.state).toBe(TaskState.ORPHANED);
    expect(view.get("task", "done")?.status?.state).toBe(TaskState.FAILED);
  });

  test("show what raft knows of the managers", async () => {
    const context = fixture();
    await aNode(context, "m1", manager);
    await aNode(context, "w1", { status: { state: NodeStatus_State.DOWN } });
    context.raft.push(member("m1", true));
    const { nodes } = await listNodes(context, create(ListNodesRequestSchema));
    expect(nodes.map(({ managerStatus }) => managerStatus?.leader)).toEqual([true, undefined]);
    const filters = { namePrefixes: ["host-w"] };
    const some = await listNodes(context, create(ListNodesRequestSchema, { filters }));
    expect(some.nodes.map(({ id }) => id)).toEqual(["w1"]);
  });
});

test("tasks are found by service, node, name, state and whether they are up to date", async () => {
  const context = fixture();
  const service = await aService(context);
  const common = { serviceId: service.id, serviceAnnotations: { name: "web", labels: { x: "1" } } };
  await context.state.update("orchestrator", (tx) => {
    tx.create(
      "task",
      create(TaskSchema, {
        ...common,
        id: "new",
        slot: 1n,
        desiredState: TaskState.RUNNING,
        specVersion: {},
      }),
    );
    tx.create(
      "task",
      create(TaskSchema, {
        ...common,
        id: "old",
        nodeId: "n1",
        desiredState: TaskState.SHUTDOWN,
        specVersion: { index: 9n },
      }),
    );
  });
  const list = async (filters: object) => {
    const { tasks } = await listTasks(context, create(ListTasksRequestSchema, { filters }));
    return tasks.map(({ id }) => id);
  };
  expect(await list({})).toEqual(["new", "old"]);
  expect(await list({ serviceIds: [service.id, service.id] })).toEqual(["new", "old"]);
  expect(await list({ nodeIds: ["n1"] })).toEqual(["old"]);
  expect(await list({ names: ["web.1.new"] })).toEqual(["new"]);
  expect(await list({ namePrefixes: ["web.n1"] })).toEqual(["old"]);
  expect(await list({ desiredStates: [TaskState.RUNNING] })).toEqual(["new"]);
  expect(await list({ labels: { x: "2" } })).toEqual([]);
  expect(await list({ upToDate: true })).toEqual(["new"]);
});
