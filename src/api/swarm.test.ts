import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { aNode, member } from "#manager/control/testing/fixture.ts";
import type { Node } from "#wire/docker/nodes.ts";
import type { Swarm } from "#wire/docker/swarm.ts";
import { TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeSpec_Membership } from "#wire/gen/swarmkit/specs_pb.js";
import { NodeRole, NodeStatus_State, TaskState } from "#wire/gen/swarmkit/types_pb.js";
import type { InitRequest } from "./cluster-port.ts";
import { readClusterSummary } from "./swarm.ts";
import { swarmNetworks } from "./swarm-networks.ts";
import { type Harness, NODE_ID, swarmHarness } from "./testing/swarm-harness.ts";

let api: Harness;

beforeEach(async () => {
  api = await swarmHarness();
});
afterEach(() => api.close());

const node = (id: string) => api.context.state.view().get("node", id);

describe("/swarm", () => {
  test("shows settings and tokens, never keys", async () => {
    const { status, json } = await api.call("GET", "/v1.47/swarm");
    expect(status).toBe(200);
    expect(json).toMatchObject({
      ID: "cluster1",
      JoinTokens: { Worker: "w", Manager: "m" },
      Spec: { Name: "default", Labels: {}, Orchestration: { TaskHistoryRetentionLimit: 0 } },
      DefaultAddrPool: ["10.0.0.0/8"],
      SubnetSize: 24,
      DataPathPort: 4789,
      RootRotationInProgress: false,
    });
    expect(JSON.stringify(json)).not.toMatch(/caKey|SigningCAKey|UnlockKey/);
  });

  test("what is not there is explained as docker does", async () => {
    api.port.control = () => {
      throw new EngineError("unavailable", "This node is not a swarm manager.");
    };
    const { status, message } = await api.call("GET", "/swarm");
    expect([status, message]).toEqual([503, "This node is not a swarm manager."]);
  });

  test("tokens with bounds are made, listed with their use, and removed", async () => {
    const body = {
      Name: "rack",
      Role: "worker",
      Labels: { rack: "7" },
      MaxUses: 2,
      ExpiresIn: 3_600e9,
    };
    const made = await api.call("POST", "/swarm/tokens/create", body);
    expect(made).toMatchObject({
      status: 201,
      json: { Name: "rack", Role: "worker", Labels: { rack: "7" }, MaxUses: 2, Uses: 0 },
    });
    const { json } = await api.call("GET", "/swarm/tokens");
    expect(json).toEqual([made.json]);
    const again = await api.call("POST", "/swarm/tokens/create", body);
    expect([again.status, again.message]).toEqual([
      409,
      "rpc error: code = AlreadyExists desc = join token rack exists already",
    ]);
    for (const wrong of [
      { ...body, Name: "other", Role: "root" },
      { ...body, Name: "no name" },
      { ...body, Name: "other", ExpiresIn: -1 },
      { ...body, Name: "other", MaxUses: -1 },
      { ...body, Name: "other", Labels: { "": "x" } },
    ]) {
      const refused = await api.call("POST", "/swarm/tokens/create", wrong);
      expect(refused.status).toBe(400);
    }
    expect((await api.call("DELETE", "/swarm/tokens/rack")).status).toBe(200);
    expect((await api.call("DELETE", "/swarm/tokens/rack")).status).toBe(404);
    expect((await api.call("GET", "/swarm/tokens")).json).toEqual([]);
  });

  test("init hands over what the client asked for, gated by its version", async () => {
    const asked: InitRequest[] = [];
    api.port.init = async (request) => {
      asked.push(request);
      return "new-node";
    };
    const body = {
      ListenAddr: "0.0.0.0:2377",
      DefaultAddrPool: ["10.9.0.0/16"],
      SubnetSize: 25,
      DataPathPort: 7777,
      Availability: "drain",
      Spec: { Orchestration: { TaskHistoryRetentionLimit: 3 }, Labels: null },
    };
    const answer = await api.call("POST", "/v1.47/swarm/init", body);
    expect([answer.status, answer.json]).toEqual([200, "new-node"]);
    await api.call("POST", "/v1.38/swarm/init", body);
    expect(asked[0]).toMatchObject({ dataPathPort: 7777, subnetSize: 25, availability: 2 });
    expect(asked[0]?.spec.orchestration?.taskHistoryRetentionLimit).toBe(3n);
    expect(asked[0]?.spec.annotations?.name).toBe("default");
    expect(asked[1]).toMatchObject({ dataPathPort: 0, subnetSize: 0, defaultAddrPool: [] });
  });

  test.each([
    ["/swarm/init", {}, 'invalid ListenAddr "": invalid empty address'],
    ["/swarm/init", { ListenAddr: "x", Spec: { Name: "y" } }, 'swarm spec must be named "default"'],
    ["/swarm/init", { ListenAddr: "x", Availability: "off" }, 'invalid Availability: "off"'],
    ["/swarm/join", { ListenAddr: "x" }, "at least 1 RemoteAddr is required to join"],
    [
      "/swarm/join",
      { ListenAddr: "x", RemoteAddrs: [""] },
      'invalid remoteAddr "": invalid empty address',
    ],
    [
      "/swarm/update",
      {},
      `invalid swarm version '': strconv.ParseUint: parsing "": invalid syntax`,
    ],
    ["/swarm/update?version=1&rotateWorkerToken=x", {}, "invalid value for rotateWorkerToken: x"],
    [
      "/swarm/init",
      { ListenAddr: 5 },
      "json: cannot unmarshal number 5 into field ListenAddr of type string",
    ],
  ])("%s refuses %o", async (path, body, expected) => {
    const { status, message } = await api.call("POST", path, body);
    expect([status, message]).toEqual([400, expected]);
  });

  test("update replaces the spec, against a version", async () => {
    const before = (await api.call("GET", "/swarm")).json as Swarm;
    const path = `/swarm/update?version=${before.Version.Index}`;
    const spec = { ...before.Spec, Labels: { a: "b" }, Dispatcher: { HeartbeatPeriod: 7e9 } };
    expect((await api.call("POST", path, spec)).status).toBe(200);
    const after = (await api.call("GET", "/swarm")).json as Swarm;
    expect(after.Spec).toMatchObject({ Labels: { a: "b" }, Dispatcher: { HeartbeatPeriod: 7e9 } });
    const stale = await api.call("POST", path, spec);
    expect([stale.status, stale.message]).toEqual([
      500,
      "rpc error: code = Unknown desc = update out of sequence",
    ]);
  });

  test("the summary for /info is absent rather than an error", async () => {
    await aNode(api.context, "w1");
    const summary = await readClusterSummary(api.port);
    expect(summary).toMatchObject({ nodes: 1, managers: 0, cluster: { ID: "cluster1" } });
    api.context.state.setLeader(false);
    expect(await readClusterSummary(api.port)).toBeUndefined();
  });
});

describe("/nodes", () => {
  test("are found by id, hostname, prefix and `self`", async () => {
    await aNode(api.context, NODE_ID, { spec: { desiredRole: NodeRole.MANAGER } });
    await aNode(api.context, "node2");
    api.context.raft.push(member(NODE_ID, true));
    const idOf = async (name: string) => {
      const { status, json, message } = await api.call("GET", `/nodes/${name}`);
      return status === 200 ? (json as Node).ID : `${status} ${message}`;
    };
    expect(await idOf("node1")).toBe("node1");
    expect(await idOf("host-node2")).toBe("node2");
    expect(await idOf("self")).toBe(NODE_ID);
    expect(await idOf("node")).toBe("400 node node is ambiguous (2 matches found)");
    expect(await idOf("x")).toBe("404 node x not found");
    const { json } = await api.call("GET", "/nodes/self");
    expect(json).toMatchObject({
      Spec: { Role: "manager", Availability: "active", Labels: {} },
      Status: { State: "ready" },
      ManagerStatus: { Leader: true, Reachability: "reachable", Addr: "node1:2377" },
    });
  });

  test("an update by a docker client does not undo the acceptance of a node", async () => {
    await aNode(api.context, "n", { spec: { membership: NodeSpec_Membership.ACCEPTED } });
    const version = () => node("n")?.meta?.version?.index;
    const post = (body: object) => api.call("POST", `/nodes/n/update?version=${version()}`, body);
    const plain = { Role: "worker", Availability: "pause", Labels: { a: "b" } };
    expect((await post(plain)).status).toBe(200);
    expect(node("n")?.spec).toMatchObject({ membership: 1, availability: 1 });
    expect((await post({ ...plain, Membership: "pending" })).status).toBe(200);
    expect(node("n")?.spec?.membership).toBe(NodeSpec_Membership.PENDING);
    expect((await post({ Role: "worker" })).message).toBe('invalid Availability: ""');
  });

  test("filters that nobody knows are refused", async () => {
    const query = encodeURIComponent(JSON.stringify({ colour: ["red"] }));
    const { status, message } = await api.call("GET", `/nodes?filters=${query}`);
    expect([status, message]).toEqual([400, "invalid filter 'colour'"]);
    const role = encodeURIComponent(JSON.stringify({ role: { boss: true } }));
    expect((await api.call("GET", `/nodes?filters=${role}`)).message).toBe(
      "Invalid role filter: 'boss'",
    );
  });
});

test("/secrets and /configs: created, listed, found, relabelled, removed", async () => {
  for (const noun of ["secret", "config"]) {
    const Data = Buffer.from("hunter2").toString("base64");
    const made = await api.call("POST", `/${noun}s/create`, { Name: "pw", Data });
    expect(made.status).toBe(201);
    const { ID: id } = made.json as { ID: string };
    expect((await api.call("POST", `/${noun}s/create`, { Name: "pw", Data })).message).toBe(
      `rpc error: code = AlreadyExists desc = ${noun} pw already exists`,
    );
    const shown = (await api.call("GET", `/${noun}s/pw`)).json as { Spec: object };
    expect(shown.Spec).toEqual(
      noun === "secret" ? { Name: "pw", Labels: {} } : { Name: "pw", Labels: {}, Data },
    );
    const update = await api.call("POST", `/${noun}s/pw/update?version=999`, { Name: "pw" });
    expect(update.message).toBe("rpc error: code = Unknown desc = update out of sequence");
    expect((await api.call("DELETE", `/${noun}s/${id.slice(0, 8)}`)).status).toBe(204);
    const gone = await api.call("GET", `/${noun}s/${id}`);
    expect([gone.status, gone.message]).toEqual([404, `${noun} ${id} not found`]);
    expect((await api.call("GET", `/${noun}s`)).json).toEqual([]);
  }
});

test("base64 that is none, and templates for clients that know none, are refused", async () => {
  const bad = await api.call("POST", "/secrets/create", { Name: "x", Data: "%%" });
  expect([bad.status, bad.message]).toEqual([400, "illegal base64 data in field Data"]);
  const body = { Name: "x", Data: "eA==", Templating: { Name: "golang" } };
  expect((await api.call("POST", "/v1.36/configs/create", body)).message).toBe(
    "config templating is not supported on the specified API version: 1.36",
  );
});

describe("networks of the swarm", () => {
  const version = { major: 1, minor: 47 };

  test("are listed without the stand-ins, made, shown and removed", async () => {
    const networks = swarmNetworks(api.port);
    expect((await networks.list())?.map(({ Name }) => Name)).toEqual(["over"]);
    const body = {
      Name: "net",
      Driver: "overlay",
      Attachable: true,
      IPAM: { Config: [{ Subnet: "10.5.0.0/24", Gateway: "10.5.0.1" }] },
    };
    const { Id } = await networks.create(body, version);
    expect(await networks.inspect("net", false)).toMatchObject({
      Id,
      Scope: "swarm",
      Driver: "overlay",
      Attachable: true,
      IPAM: { Driver: "default", Config: [{ Subnet: "10.5.0.0/24", Gateway: "10.5.0.1" }] },
    });
    await expect(networks.create({ Name: "host" }, version)).rejects.toMatchObject({
      code: "forbidden",
      message: "host is a pre-defined network and cannot be created",
    });
    await networks.remove(Id);
    expect(await networks.inspect(Id, false)).toBeUndefined();
    await expect(networks.remove("net-host")).rejects.toThrow(
      "network net-host (host) is a swarm predefined network and cannot be removed",
    );
  });

  test("show in the verbose view who is on them", async () => {
    await aNode(api.context, "n1", {
      status: { state: NodeStatus_State.READY, addr: "192.0.2.7" },
    });
    const spec = {
      Name: "web",
      TaskTemplate: { ContainerSpec: { Image: "x" }, Networks: [{ Target: "over" }] },
    };
    const made = await api.call("POST", "/services/create", spec);
    const { ID: serviceId } = made.json as { ID: string };
    await api.context.state.update("orchestrator", (tx) =>
      tx.create(
        "task",
        create(TaskSchema, {
          id: "t1",
          serviceId,
          nodeId: "n1",
          slot: 1n,
          serviceAnnotations: { name: "web" },
          desiredState: TaskState.RUNNING,
          status: { state: TaskState.RUNNING },
          networks: [{ network: { id: "net-over" }, addresses: ["10.0.1.3/24"] }],
        }),
      ),
    );
    const shown = await swarmNetworks(api.port).inspect("over", true);
    expect(shown?.Services?.["web"]?.Tasks).toEqual([
      {
        Name: "web.1.t1",
        EndpointID: "t1",
        EndpointIP: "10.0.1.3",
        Info: { "Host IP": "192.0.2.7" },
      },
    ]);
    expect(shown?.Peers).toEqual([{ Name: "host-n1-n1", IP: "192.0.2.7" }]);
  });

  test("are none on a node that is no manager", async () => {
    api.port.info = () => ({ ...infoOf(), controlAvailable: false });
    expect(await swarmNetworks(api.port).list()).toBeUndefined();
    expect(await swarmNetworks(api.port).inspect("over", false)).toBeUndefined();
  });
});

function infoOf() {
  const state = "active" as const;
  return {
    state,
    nodeId: "",
    nodeAddr: "",
    controlAvailable: true,
    error: "",
    remoteManagers: [],
    warnings: [],
  };
}
