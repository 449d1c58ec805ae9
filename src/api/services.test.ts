import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { logNotice } from "#model/log-notice.ts";
import type { Service } from "#wire/docker/services.ts";
import { LogStream } from "#wire/gen/swarmkit/logbroker_pb.js";
import {
  NetworkSchema,
  Rollout_Phase as Phase,
  RolloutSchema,
  type Service as StoredService,
  Rollout_Strategy as Strategy,
  TaskSchema,
} from "#wire/gen/swarmkit/objects_pb.js";
import {
  TaskState,
  UpdateStatus_UpdateState as UpdateState,
  UpdateStatusSchema,
} from "#wire/gen/swarmkit/types_pb.js";
import { FrameDecoder } from "./stdcopy.ts";
import { type Harness, swarmHarness } from "./testing/swarm-harness.ts";

let api: Harness;

beforeEach(async () => {
  api = await swarmHarness();
});
afterEach(() => api.close());

const web = { Name: "web", TaskTemplate: { ContainerSpec: { Image: "nginx:1.27" } } };

async function made(spec: object = web, version = "", headers = {}): Promise<string> {
  const answer = await api.call("POST", `${version}/services/create`, spec, headers);
  expect([answer.status, answer.message]).toEqual([201, ""]);
  return (answer.json as { ID: string }).ID;
}

async function shown(name: string, query = ""): Promise<Service> {
  return (await api.call("GET", `/services/${name}${query}`)).json as Service;
}

function stored(id: string) {
  return api.context.state.view().get("service", id);
}

function containerOf(id: string) {
  const runtime = stored(id)?.spec?.task?.runtime;
  if (runtime?.case !== "container") throw new Error("no container");
  return runtime.value;
}

test("the smallest service: one replica, docker's defaults only when asked for", async () => {
  const { status, json } = await api.call("POST", "/v1.47/services/create", web);
  expect(status).toBe(201);
  expect(json).toEqual({ ID: expect.stringMatching(/^[0-9a-z]{25}$/) });
  const plain = await shown("web");
  expect(plain.Spec).toEqual({
    Name: "web",
    Labels: {},
    TaskTemplate: {
      ContainerSpec: { Image: "nginx:1.27", Isolation: "default" },
      ForceUpdate: 0,
      Runtime: "container",
    },
    Mode: { Replicated: { Replicas: 1 } },
  });
  expect(plain.Endpoint).toEqual({ Spec: {} });
  expect(plain.CreatedAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/);
  for (const name of ["web", plain.ID]) {
    const filled = await shown(name, "?insertDefaults=true");
    expect(filled.Spec.UpdateConfig).toMatchObject({ Parallelism: 1, Monitor: 5e9 });
    expect(filled.Spec.TaskTemplate.ContainerSpec?.StopGracePeriod).toBe(10e9);
  }
});

test("a service without a name gets one", async () => {
  const id = await made({ TaskTemplate: { ContainerSpec: { Image: "x" } } });
  expect(stored(id)?.spec?.annotations?.name).toMatch(/^[a-z]+_[a-z]+$/);
});

test.each([
  [{ Name: "web" }, 400, "mismatched Runtime and *Spec fields"],
  [{ ...web, Mode: { Global: {}, Replicated: {} } }, 400, "must specify only one service mode"],
  [
    { Name: "x", TaskTemplate: { Runtime: "attachment" } },
    400,
    'invalid task spec: spec type "attachment" not supported',
  ],
  [{ ...web, EndpointSpec: { Mode: "magic" } }, 400, 'invalid resolution mode: "magic"'],
  [{ ...web, UpdateConfig: { Order: "both" } }, 400, "unrecognized update order both"],
  [
    { ...web, UpdateConfig: { FailureAction: "cry" } },
    400,
    "unrecognized update failure action cry",
  ],
  [
    { ...web, TaskTemplate: { ContainerSpec: { Image: "x", Mounts: [{ Type: "image" }] } } },
    400,
    'invalid MountType: "image"',
  ],
  [
    { ...web, Name: "a.b" },
    400,
    "rpc error: code = InvalidArgument desc = name must be valid as a DNS name component",
  ],
  [
    { ...web, TaskTemplate: { ...web.TaskTemplate, Networks: [{ Target: "mine" }] } },
    403,
    "The network mine cannot be used with services. Only networks scoped to the swarm can be used, such as those created with the overlay driver.",
  ],
  [
    { ...web, TaskTemplate: { ...web.TaskTemplate, Networks: [{ Target: "nope" }] } },
    404,
    "network nope not found",
  ],
  [
    { ...web, TaskTemplate: { ...web.TaskTemplate, Networks: [{ Target: "bridge" }] } },
    404,
    "could not find the corresponding predefined swarm network: network bridge not found",
  ],
])("refuses %o", async (spec, status, message) => {
  const answer = await api.call("POST", "/services/create", spec);
  expect([answer.status, answer.message]).toEqual([status, message]);
});

test("a name that is taken", async () => {
  await made();
  const { status, message } = await api.call("POST", "/services/create", web);
  expect([status, message]).toEqual([
    409,
    "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service web already exists",
  ]);
});

test("networks are named by the user and stored by id", async () => {
  const task = {
    ...web.TaskTemplate,
    Networks: [{ Target: "over", Aliases: ["a"] }, { Target: "host" }],
  };
  const id = await made({ Name: "web", TaskTemplate: task });
  const targets = stored(id)?.spec?.task?.networks.map(({ target }) => target);
  expect(targets).toEqual(["net-over", "net-host"]);
});

describe("registry credentials", () => {
  const auth = Buffer.from('{"username":"u"}').toString("base64url");
  const header = { "X-Registry-Auth": auth };
  const post = async (id: string, query = "", headers = {}) => {
    const { Version, Spec } = await shown(id);
    return api.call(
      "POST",
      `/services/${id}/update?version=${Version.Index}${query}`,
      Spec,
      headers,
    );
  };

  test("are kept for the agents, never shown, and outlive updates that bring none", async () => {
    const id = await made(web, "", header);
    expect(containerOf(id).pullOptions?.registryAuth).toBe(auth);
    expect(JSON.stringify(await shown(id))).not.toContain(auth);
    const updated = await post(id);
    expect([updated.status, updated.json]).toEqual([200, { Warnings: null }]);
    expect(containerOf(id).pullOptions?.registryAuth).toBe(auth);
    await post(id, "", { "X-Registry-Auth": "other" });
    expect(containerOf(id).pullOptions?.registryAuth).toBe("other");
    await post(id, "&registryAuthFrom=previous-spec");
    expect(containerOf(id).pullOptions?.registryAuth).toBe(auth);
  });

  test("cannot be taken from a spec that never was", async () => {
    const id = await made();
    expect((await post(id, "&registryAuthFrom=previous-spec")).message).toBe(
      "service does not have a previous spec",
    );
    expect((await post(id, "&registryAuthFrom=thin-air")).message).toBe(
      "unsupported registryAuthFrom value",
    );
  });
});

test("update by name, and back to the spec of before", async () => {
  const id = await made();
  const first = await shown("web");
  const scaled = { ...first.Spec, Mode: { Replicated: { Replicas: 3 } } };
  await api.call("POST", `/services/web/update?version=${first.Version.Index}`, scaled);
  const second = await shown("web");
  expect(second.Spec.Mode).toEqual({ Replicated: { Replicas: 3 } });
  expect(second.PreviousSpec).toEqual(first.Spec);
  const path = `/services/web/update?version=${second.Version.Index}&rollback=previous`;
  expect((await api.call("POST", path, second.Spec)).status).toBe(200);
  const third = await shown("web");
  expect(third.Spec).toEqual(first.Spec);
  expect(third.UpdateStatus).toMatchObject({ State: "rollback_started" });
  expect(third.UpdateStatus).not.toHaveProperty("CompletedAt");
  const stale = await api.call("POST", path, second.Spec);
  expect([stale.status, stale.message]).toEqual([
    500,
    "rpc error: code = Unknown desc = update out of sequence",
  ]);
  expect((await api.call("DELETE", "/services/web")).status).toBe(200);
  expect((await api.call("GET", `/services/${id}`)).message).toBe(`service ${id} not found`);
});

describe("a version on trial", () => {
  const labels = { "skep.update.strategy": "canary", "skep.update.promotion": "manual" };
  const container = (image: string) => ({ ...web.TaskTemplate, ContainerSpec: { Image: image } });

  async function onTrial(): Promise<string> {
    const id = await made({ ...web, Labels: labels, TaskTemplate: container("nginx:1") });
    const { Version } = await shown("web");
    const next = { ...web, Labels: labels, TaskTemplate: container("nginx:2") };
    await api.call("POST", `/services/web/update?version=${Version.Index}`, next);
    return id;
  }

  test("begins with the update, goes on when promoted, and can be given up", async () => {
    const id = await onTrial();
    expect((await shown("web")).Rollout).toMatchObject({
      Strategy: "canary",
      Phase: "trial",
      Promoted: false,
    });
    expect((await api.call("POST", "/services/web/promote")).status).toBe(200);
    expect((await shown("web")).Rollout?.Promoted).toBe(true);
    // As the planner would have it.
    await api.context.state.update("leader", (tx) => {
      const service = tx.get("service", id);
      if (service === undefined) throw new Error("no service");
      const updateStatus = create(UpdateStatusSchema, { state: UpdateState.UPDATING });
      tx.update("service", { ...service, updateStatus });
    });
    expect((await api.call("POST", "/services/web/abort")).status).toBe(200);
    const back = await shown("web");
    expect(back.Spec.TaskTemplate.ContainerSpec?.Image).toBe("nginx:1");
    expect(back.UpdateStatus).toMatchObject({ Message: "update aborted by request" });
    // Neither leads forward to what was given up.
    for (const verb of ["abort", "promote"]) {
      const again = await api.call("POST", `/services/web/${verb}`);
      expect([again.status, again.message]).toEqual([
        400,
        "rpc error: code = FailedPrecondition desc = service web is going back to the version before already",
      ]);
    }
    const { Spec, Version } = await shown("web");
    expect(Spec).toEqual(back.Spec);
    const path = `/services/web/update?version=${Version.Index}&rollback=previous`;
    expect((await api.call("POST", path, Spec)).message).toMatch(/does not have a previous spec/);
  });

  test("does not come back with a second rollback, to all slots and untried", async () => {
    await onTrial();
    const rollBack = async () => {
      const { Spec, Version } = await shown("web");
      const path = `/services/web/update?version=${Version.Index}&rollback=previous`;
      return api.call("POST", path, Spec);
    };
    expect((await rollBack()).status).toBe(200);
    expect((await shown("web")).Spec.TaskTemplate.ContainerSpec?.Image).toBe("nginx:1");
    expect((await rollBack()).message).toMatch(/does not have a previous spec/);
  });

  test("may be given up before any planner has seen it", async () => {
    await onTrial();
    expect((await api.call("POST", "/services/web/abort")).status).toBe(200);
    expect((await shown("web")).Spec.TaskTemplate.ContainerSpec?.Image).toBe("nginx:1");
  });

  const DECIDE = {
    promote: "has no version on trial to promote",
    abort: "has no update to abort",
  } as const;

  test.each<[string, Partial<StoredService>, keyof typeof DECIDE, string]>([
    ["nothing to decide on", {}, "promote", DECIDE.promote],
    ["nothing to give up", {}, "abort", DECIDE.abort],
    [
      "a set that was returned to is not left for the bad one",
      {
        rollout: create(RolloutSchema, { strategy: Strategy.BLUE_GREEN, phase: Phase.KEPT }),
        updateStatus: create(UpdateStatusSchema, { state: UpdateState.ROLLBACK_COMPLETED }),
      },
      "abort",
      DECIDE.abort,
    ],
    [
      "a way back that failed",
      {
        updateStatus: create(UpdateStatusSchema, {
          state: UpdateState.ROLLBACK_PAUSED,
          message: "rollback paused due to failure or early termination of task t",
        }),
      },
      "abort",
      "could not go back: rollback paused due to failure or early termination of task t; " +
        "give it another version",
    ],
  ])("%s", async (_what, change, verb, refusal) => {
    const id = await onTrial();
    await api.context.state.update("leader", (tx) => {
      const service = tx.get("service", id);
      if (service === undefined) throw new Error("no service");
      tx.update("service", { ...service, rollout: undefined, ...change });
    });
    const { status, message } = await api.call("POST", `/services/web/${verb}`);
    expect([status, message]).toEqual([
      400,
      `rpc error: code = FailedPrecondition desc = service web ${refusal}`,
    ]);
  });

  test("labels that say nothing are refused, by name", async () => {
    const odd = { ...web, Labels: { "skep.update.canary": "150%" } };
    const { status, message } = await api.call("POST", "/services/create", odd);
    expect([status, message]).toEqual([
      400,
      "rpc error: code = InvalidArgument desc = label skep.update.canary must be a number of tasks or 1% to 100%",
    ]);
  });

  test("is explained", async () => {
    await onTrial();
    const { status, json } = await api.call("GET", "/services/web/explain");
    expect([status, json]).toEqual([200, { Waits: [], Tasks: [] }]);
    expect((await api.call("GET", "/services/nothing/explain")).status).toBe(404);
  });
});

describe("clients of old", () => {
  const everything = {
    Name: "old",
    Mode: { ReplicatedJob: {} },
    TaskTemplate: {
      ContainerSpec: {
        Image: "x",
        Sysctls: { a: "1" },
        CapabilityAdd: ["CAP_NET_ADMIN"],
        Ulimits: [{ Name: "nofile", Soft: 1, Hard: 2 }],
        Privileges: { NoNewPrivileges: true, Seccomp: { Mode: "unconfined" } },
        Healthcheck: { StartInterval: 5e9 },
        OomScoreAdj: 7,
        Mounts: [{ Type: "tmpfs", Target: "/t", TmpfsOptions: { Options: [["noexec"]] } }],
      },
      Placement: { MaxReplicas: 2 },
      Resources: { Limits: { Pids: 9 } },
    },
  };

  test.each([
    ["/v1.39", [0n, 0, 0, "replicated", 0n, false, 0n, 0n, ""]],
    ["/v1.40", [2n, 1, 0, "replicated", 0n, false, 0n, 0n, ""]],
    ["/v1.41", [2n, 1, 1, "replicatedJob", 9n, false, 0n, 0n, ""]],
    ["/v1.44", [2n, 1, 1, "replicatedJob", 9n, true, 5n, 0n, ""]],
    ["/v1.46", [2n, 1, 1, "replicatedJob", 9n, true, 5n, 7n, '[["noexec"]]']],
  ])("%s drops what it does not know", async (version, expected) => {
    const id = await made(everything, version);
    const spec = stored(id)?.spec;
    const container = containerOf(id);
    expect([
      spec?.task?.placement?.maxReplicas,
      Object.keys(container.sysctls).length,
      container.capabilityAdd.length,
      spec?.mode.case,
      container.pidsLimit,
      container.privileges?.noNewPrivileges,
      container.healthcheck?.startInterval?.seconds,
      container.oomScoreAdj,
      container.mounts[0]?.tmpfsOptions?.options,
    ]).toEqual(expected);
    expect(container.ulimits).toHaveLength(container.capabilityAdd.length);
    expect(container.privileges?.seccomp !== undefined).toBe(expected[5]);
  });

  test("before 1.30 have the image pinned for them, or are warned", async () => {
    const id = await made(web, "/v1.29");
    expect(containerOf(id).image).toBe(`nginx:1.27@sha256:${"a".repeat(64)}`);
    expect(stored(id)?.spec?.task?.placement?.platforms).toMatchObject([
      { os: "linux", architecture: "arm64" },
    ]);
    const gone = { Name: "g", TaskTemplate: { ContainerSpec: { Image: "gone" } } };
    const { json } = await api.call("POST", "/v1.29/services/create", gone);
    const { Warnings } = json as { Warnings: string[] };
    expect(Warnings[0]).toContain("image gone could not be accessed on a registry");
  });
});

describe("lists", () => {
  const query = (filters: object) => `filters=${encodeURIComponent(JSON.stringify(filters))}`;

  test("are empty arrays, never null", async () => {
    for (const path of ["/services", "/tasks", "/nodes", "/secrets", "/configs"]) {
      expect((await api.call("GET", path)).json).toEqual([]);
    }
  });

  test("of services by mode, with their counts when asked for", async () => {
    await made();
    await made({ ...web, Name: "all", Mode: { Global: {} } });
    const names = async (path: string) => {
      const { json } = await api.call("GET", path);
      return (json as Service[]).map(({ Spec }) => Spec.Name);
    };
    expect(await names(`/services?${query({ mode: ["global"] })}`)).toEqual(["all"]);
    expect(await names(`/services?${query({ name: { we: true } })}`)).toEqual(["web"]);
    const counted = (await api.call("GET", "/services?status=true")).json as Service[];
    const one = counted.find(({ Spec }) => Spec.Name === "web");
    expect(one?.ServiceStatus).toEqual({ RunningTasks: 0, DesiredTasks: 1, CompletedTasks: 0 });
    for (const path of ["/services", "/v1.40/services?status=true"]) {
      const [first] = (await api.call("GET", path)).json as Service[];
      expect(first).not.toHaveProperty("ServiceStatus");
    }
  });

  test("of tasks by the name of their service; attachments only on demand", async () => {
    const id = await made();
    await api.context.state.update("orchestrator", (tx) => {
      const spec = { runtime: { case: "container" as const, value: { image: "x" } } };
      const status = { state: TaskState.RUNNING, timestamp: { seconds: 1n, nanos: 500 } };
      const net = create(NetworkSchema, {
        id: "net-over",
        spec: { annotations: { name: "over" } },
      });
      tx.create(
        "task",
        create(TaskSchema, {
          id: "t1",
          serviceId: id,
          slot: 1n,
          spec,
          status,
          networks: [{ network: net }],
        }),
      );
      const attachment = { runtime: { case: "attachment" as const, value: { containerId: "c" } } };
      tx.create("task", create(TaskSchema, { id: "t2", spec: attachment }));
    });
    const tasks = async (filters: object) => {
      const { status, json, message } = await api.call("GET", `/tasks?${query(filters)}`);
      return status === 200 ? (json as { ID: string }[]).map(({ ID }) => ID) : message;
    };
    expect(await tasks({})).toEqual(["t1"]);
    expect(await tasks({ runtime: ["attachment"] })).toEqual(["t2"]);
    expect(await tasks({ service: ["web"] })).toEqual(["t1"]);
    expect(await tasks({ service: ["nope"] })).toBe("service nope not found");
    expect(await tasks({ "desired-state": ["running"] })).toEqual([]);
    expect(await tasks({ "desired-state": ["idle"] })).toBe("Invalid desired-state filter: 'idle'");
    const { json } = await api.call("GET", "/tasks/t1");
    expect(json).toMatchObject({
      Slot: 1,
      Status: { Timestamp: "1970-01-01T00:00:01.0000005Z", State: "running", PortStatus: {} },
      DesiredState: "new",
      NetworksAttachments: [
        { Network: { ID: "net-over", Spec: { Name: "over", Scope: "swarm" } } },
      ],
      Volumes: null,
    });
  });
});

describe("logs", () => {
  const line = (stream: LogStream, text: string) => ({
    context: { serviceId: "s", nodeId: "n", taskId: "t" },
    timestamp: { seconds: 1_500_000_000n, nanos: 7 },
    stream,
    data: new TextEncoder().encode(text),
    attrs: [{ key: "a b", value: "c&d" }],
  });

  beforeEach(() => {
    api.logs.batches = [
      { messages: [line(LogStream.STDOUT, "out\n"), line(LogStream.STDERR, "err\n")] },
    ];
  });

  const framesOf = (bytes: Buffer) =>
    new FrameDecoder()
      .push(bytes)
      .map(({ stream, payload }) => [stream, Buffer.from(payload).toString()]);

  test("come framed, with times and details in front when asked for", async () => {
    await made();
    const plain = await api.call("GET", "/services/web/logs?stdout=1&stderr=1&tail=2&since=5.25");
    expect(plain.type).toBe("application/vnd.docker.multiplexed-stream");
    expect(framesOf(plain.bytes)).toEqual([
      [1, "out\n"],
      [2, "err\n"],
    ]);
    expect(api.logs.asked?.options).toMatchObject({
      tail: -3n,
      follow: false,
      since: { seconds: 5n, nanos: 250_000_000 },
    });
    const full = await api.call("GET", "/services/web/logs?stdout=1&timestamps=1&details=1");
    expect(framesOf(full.bytes)[0]).toEqual([
      1,
      "2017-07-14T02:40:00.000000007Z a+b=c%26d,com.docker.swarm.node.id=n,com.docker.swarm.service.id=s,com.docker.swarm.task.id=t out\n",
    ]);
    const old = await api.call("GET", "/v1.41/services/web/logs?stdout=1");
    expect(old.type).toBe("application/vnd.docker.raw-stream");
  });

  test("of a terminal come raw", async () => {
    await made({ Name: "tty", TaskTemplate: { ContainerSpec: { Image: "x", TTY: true } } });
    const { type, bytes } = await api.call("GET", "/services/tty/logs?stdout=1");
    expect([type, bytes.toString()]).toEqual(["application/vnd.docker.raw-stream", "out\nerr\n"]);
  });

  test("tell in the stream what went wrong after it began", async () => {
    await made();
    api.logs.error = "node is gone";
    const { status, bytes } = await api.call("GET", "/services/web/logs?stdout=1");
    expect(status).toBe(200);
    expect(framesOf(bytes).at(-1)).toEqual([3, "Error grabbing logs: node is gone\n"]);
  });

  test("that are followed go on behind another leader, each line once", async () => {
    await made();
    const at = (nanos: number, taskId: string, text: string) => ({
      ...line(LogStream.STDOUT, text),
      context: { serviceId: "s", nodeId: "n", taskId },
      timestamp: { seconds: 9n, nanos },
    });
    api.logs.batches = [{ messages: [at(5, "a", "a5\n"), at(3, "b", "b3\n")] }];
    api.logs.error = "leader lost";
    api.logs.resumed = [
      {
        messages: [at(4, "a", "a4\n"), at(5, "a", "a5\n"), at(3, "b", "b3\n"), at(4, "b", "b4\n")],
      },
    ];
    const { bytes } = await api.call("GET", "/services/web/logs?stdout=1&follow=1&tail=9");
    expect(framesOf(bytes).map(([, text]) => text)).toEqual(["a5\n", "b3\n", "b4\n"]);
    expect(api.logs.asked?.options).toMatchObject({ tail: 0n, since: { seconds: 9n, nanos: 3 } });
  });

  test("tell what is missing beside the lines of tasks, without a mark of ours", async () => {
    await made();
    const task = create(TaskSchema, { id: "t", serviceId: "s", nodeId: "n" });
    const notice = logNotice(task, "warning: node n does not answer", 1_500_000_000_000);
    api.logs.batches = [{ messages: [notice] }];
    const both = "/services/web/logs?stdout=1&stderr=1&follow=1&details=1";
    const { bytes } = await api.call("GET", both);
    expect(framesOf(bytes)).toEqual([
      [
        2,
        "com.docker.swarm.node.id=n,com.docker.swarm.service.id=s,com.docker.swarm.task.id=t " +
          "warning: node n does not answer\n",
      ],
    ]);
    const out = await api.call("GET", "/services/web/logs?stdout=1&follow=1");
    expect(out.bytes.length).toBe(0);
  });

  test.each([
    ["/services/web/logs", 400, "Bad parameters: you must choose at least one stream"],
    ["/services/web/logs?stdout=1&tail=x", 400, 'tail value must be a positive integer or "all"'],
    ["/services/web/logs?stdout=1&tail=-1", 400, "negative tail values not supported"],
    ["/services/nope/logs?stdout=1", 404, "service nope not found"],
    ["/tasks/nope/logs?stdout=1", 404, "task nope not found"],
  ])("%s is refused", async (path, status, message) => {
    await made();
    const answer = await api.call("GET", path);
    expect([answer.status, answer.message]).toEqual([status, message]);
  });
});
