import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import {
  GetServiceRequestSchema,
  ListServiceStatusesRequestSchema,
  ListServicesRequestSchema,
  RemoveServiceRequestSchema,
  UpdateServiceRequest_Rollback,
  UpdateServiceRequestSchema,
} from "#wire/gen/swarmkit/control_pb.js";
import {
  ConfigSchema,
  EndpointSchema,
  NetworkSchema,
  NodeSchema,
  SecretSchema,
  type Service,
  TaskSchema,
} from "#wire/gen/swarmkit/objects_pb.js";
import type { ServiceSpec } from "#wire/gen/swarmkit/specs_pb.js";
import {
  NodeStatus_State,
  PortConfig_PublishMode,
  TaskState,
  UpdateStatus_UpdateState,
} from "#wire/gen/swarmkit/types_pb.js";
import { listServiceStatuses } from "./service-statuses.ts";
import {
  createService,
  getService,
  listServices,
  removeService,
  updateService,
} from "./services.ts";
import { aService, type Fixture, fixture, refusalOf, serviceSpec } from "./testing/fixture.ts";

const HOST = PortConfig_PublishMode.HOST;

function updating(service: Service, spec: ServiceSpec, rollback = false) {
  return create(UpdateServiceRequestSchema, {
    serviceId: service.id,
    serviceVersion: service.meta?.version,
    spec,
    rollback: rollback
      ? UpdateServiceRequest_Rollback.PREVIOUS
      : UpdateServiceRequest_Rollback.NONE,
  });
}

async function updated(context: Fixture, service: Service, spec: ServiceSpec, rollback = false) {
  const response = await updateService(context, updating(service, spec, rollback));
  if (response.service === undefined) throw new Error("no service");
  return response.service;
}

async function ingress(context: Fixture) {
  await context.state.update("leader", (tx) =>
    tx.create(
      "network",
      create(NetworkSchema, {
        id: "ing",
        spec: { annotations: { name: "ingress" }, ingress: true },
      }),
    ),
  );
}

const published = (publishedPort: number, publishMode = PortConfig_PublishMode.INGRESS) => ({
  endpoint: { ports: [{ publishedPort, targetPort: 80, publishMode }] },
});

test("a new service has its id, a version and the time of its making", async () => {
  const context = fixture();
  const service = await aService(context);
  expect(service.id).toMatch(/^[0-9a-z]{25}$/);
  expect(service.meta?.version?.index).toBeGreaterThan(0n);
  expect(service.meta?.createdAt).toBeDefined();
  expect(service.specVersion?.index).toBe(0n);
  const { service: read } = await getService(
    context,
    create(GetServiceRequestSchema, { serviceId: service.id }),
  );
  expect(read).toEqual(service);
});

test("a name can be taken once, whatever its case", async () => {
  const context = fixture();
  await aService(context);
  expect(await refusalOf(aService(context, { annotations: { name: "WEB" } }))).toBe(
    "already-exists: name conflicts with an existing object: service WEB already exists",
  );
});

test("a service that is not there", async () => {
  const context = fixture();
  expect(await refusalOf(getService(context, create(GetServiceRequestSchema)))).toBe(
    "invalid-argument: invalid argument",
  );
  const missing = { serviceId: "nope" };
  const message = "not-found: service nope not found";
  expect(await refusalOf(getService(context, create(GetServiceRequestSchema, missing)))).toBe(
    message,
  );
  const removal = create(RemoveServiceRequestSchema, missing);
  expect(await refusalOf(removeService(context, removal))).toBe(message);
});

describe("update", () => {
  test("keeps the spec of before, and forgets how the update before went", async () => {
    const context = fixture();
    const service = await aService(context);
    await context.state.update("updater", (tx) => {
      tx.update("service", { ...service, updateStatus: { state: 2 } as never });
    });
    const { service: current } = await getService(
      context,
      create(GetServiceRequestSchema, { serviceId: service.id }),
    );
    const spec = serviceSpec({ mode: { case: "replicated", value: { replicas: 3n } as never } });
    const next = await updated(context, current as Service, spec);
    expect(next.spec).toEqual(spec);
    expect(next.previousSpec).toEqual(service.spec);
    expect(next.updateStatus).toBeUndefined();
    expect(next.specVersion).toEqual(current?.meta?.version);
    expect(next.meta?.version?.index).toBeGreaterThan(current?.meta?.version?.index ?? 0n);
  });

  test("of a version that is not the newest is refused", async () => {
    const context = fixture();
    const service = await aService(context);
    await updated(
      context,
      service,
      serviceSpec({ annotations: { name: "web", labels: { a: "1" } } }),
    );
    expect(await refusalOf(updateService(context, updating(service, serviceSpec())))).toBe(
      "unknown: update out of sequence",
    );
  });

  test("may not rename, or change the mode", async () => {
    const context = fixture();
    const service = await aService(context);
    const renamed = serviceSpec({ annotations: { name: "other" } });
    expect(await refusalOf(updateService(context, updating(service, renamed)))).toBe(
      "unimplemented: renaming services is not supported",
    );
    const global = serviceSpec({ mode: { case: "global", value: {} as never } });
    expect(await refusalOf(updateService(context, updating(service, global)))).toBe(
      "unimplemented: service mode change is not allowed",
    );
  });

  test("may not change the networks in the old place alone", async () => {
    const context = fixture();
    const service = await aService(context);
    const moved = serviceSpec({ networks: [{ target: "n1" }] });
    expect(await refusalOf(updateService(context, updating(service, moved)))).toBe(
      "unimplemented: networks must be migrated to TaskSpec before being changed",
    );
  });

  test("rolls back by swapping the two specs", async () => {
    const context = fixture();
    const first = await aService(context);
    const spec = serviceSpec({ mode: { case: "replicated", value: { replicas: 9n } as never } });
    const second = await updated(context, first, spec);
    const third = await updated(context, second, spec, true);
    expect(third.spec).toEqual(first.spec);
    expect(third.specVersion).toEqual(first.specVersion);
    expect(third.previousSpec).toEqual(spec);
    expect(third.previousSpecVersion).toEqual(second.specVersion);
    expect(third.updateStatus).toMatchObject({
      state: UpdateStatus_UpdateState.ROLLBACK_STARTED,
      message: "manually requested rollback",
    });
  });

  test("rolls back from what still waits, and never forward to it", async () => {
    const context = fixture();
    const first = await aService(context);
    const annotations = { name: "web", labels: { "skep.start-after": "db=healthy" } };
    const task = { ...first.spec?.task, forceUpdate: 1n };
    const second = await updated(context, first, serviceSpec({ annotations, task } as never));
    expect(second.startAfter).toHaveLength(1);
    const third = await updated(context, second, serviceSpec(), true);
    expect([third.spec, third.startAfter]).toEqual([first.spec, []]);
    expect(await refusalOf(updateService(context, updating(third, serviceSpec(), true)))).toContain(
      "does not have a previous spec",
    );
  });

  test("cannot roll back what was never updated", async () => {
    const context = fixture();
    const service = await aService(context);
    expect(await refusalOf(updateService(context, updating(service, serviceSpec(), true)))).toBe(
      `failed-precondition: service ${service.id} does not have a previous spec`,
    );
  });

  test("of a job starts its next iteration", async () => {
    const context = fixture();
    const mode = { mode: { case: "globalJob", value: {} as never } } as const;
    const service = await aService(context, mode);
    expect(service.jobStatus?.jobIteration?.index).toBe(0n);
    const next = await updated(context, service, serviceSpec(mode));
    expect(next.jobStatus?.jobIteration?.index).toBe(1n);
    expect(next.jobStatus?.lastExecution).not.toEqual(service.jobStatus?.lastExecution);
  });
});

describe("ports", () => {
  test("of the mesh need the ingress network", async () => {
    const context = fixture();
    expect(await refusalOf(aService(context, published(80)))).toBe(
      "failed-precondition: service needs ingress network, but no ingress network is present",
    );
    await ingress(context);
    expect(await refusalOf(aService(context, published(80)))).toBe("ok");
  });

  test("of the mesh belong to one service; host ports may be shared", async () => {
    const context = fixture();
    await ingress(context);
    const owner = await aService(context, published(80));
    const other = (ports: object) =>
      refusalOf(aService(context, { annotations: { name: "b" }, ...ports }));
    const taken = `invalid-argument: port '80' is already in use by service 'web' (${owner.id}) as an ingress port`;
    expect(await other(published(80))).toBe(taken);
    expect(await other(published(80, HOST))).toBe(taken);
    const host = await aService(context, { annotations: { name: "h" }, ...published(81, HOST) });
    expect(await other(published(81))).toBe(
      `invalid-argument: port '81' is already in use by service 'h' (${host.id}) as a host-published port`,
    );
    expect(await other(published(81, HOST))).toBe("ok");
  });

  test("that were given out by the allocator count too", async () => {
    const context = fixture();
    await ingress(context);
    const owner = await aService(context, published(0));
    await context.state.update("allocator", (tx) => {
      const service = tx.get("service", owner.id) as Service;
      const ports = [{ publishedPort: 30_000, targetPort: 80 }];
      tx.update("service", { ...service, endpoint: create(EndpointSchema, { ports }) });
    });
    const clash = aService(context, { annotations: { name: "b" }, ...published(30_000) });
    expect(await refusalOf(clash)).toContain("port '30000' is already in use by service 'web'");
    // Its own port is no obstacle to its update.
    const { service } = await getService(
      context,
      create(GetServiceRequestSchema, { serviceId: owner.id }),
    );
    await updated(context, service as Service, serviceSpec(published(30_000)));
  });
});

describe("references", () => {
  const file = { case: "file" as const, value: { name: "x" } as never };
  const needing = (secretName: string) =>
    serviceSpec({
      task: {
        runtime: {
          case: "container",
          value: { image: "x", secrets: [{ secretId: "s1", secretName, target: file }] } as never,
        },
      },
    });

  test("must exist under both their id and their name", async () => {
    const context = fixture();
    const creating = (spec: ServiceSpec) => refusalOf(createService(context, { spec } as never));
    expect(await creating(needing("pw"))).toBe("invalid-argument: secret not found: pw");
    await context.state.update("leader", (tx) => {
      tx.create(
        "secret",
        create(SecretSchema, { id: "s1", spec: { annotations: { name: "pw" } } }),
      );
      tx.create(
        "config",
        create(ConfigSchema, { id: "c1", spec: { annotations: { name: "cf" } } }),
      );
    });
    expect(await creating(needing("other"))).toBe("invalid-argument: secret not found: other");
    expect(await creating(needing("pw"))).toBe("ok");
  });

  test("to the ingress network are refused", async () => {
    const context = fixture();
    await ingress(context);
    const task = {
      networks: [{ target: "ing" }],
      runtime: { case: "container" as const, value: { image: "x" } as never },
    };
    expect(await refusalOf(aService(context, { task }))).toBe(
      'invalid-argument: Service cannot be explicitly attached to the ingress network "ingress"',
    );
  });
});

test("lists by name, prefix, label and runtime; all must hold", async () => {
  const context = fixture();
  const a = await aService(context, { annotations: { name: "api", labels: { tier: "1" } } });
  const b = await aService(context, { annotations: { name: "app", labels: { tier: "2" } } });
  const list = async (filters: object) => {
    const request = create(ListServicesRequestSchema, { filters });
    const { services } = await listServices(context, request);
    return services.map(({ spec }) => spec?.annotations?.name ?? "").sort(alphabetically);
  };
  expect(await list({})).toEqual(["api", "app"]);
  expect(await list({ names: ["api", "x"] })).toEqual(["api"]);
  expect(await list({ namePrefixes: ["ap"] })).toEqual(["api", "app"]);
  expect(await list({ labels: { tier: "" } })).toEqual(["api", "app"]);
  expect(await list({ labels: { tier: "2" } })).toEqual(["app"]);
  expect(await list({ idPrefixes: [a.id], namePrefixes: ["app"] })).toEqual([]);
  expect(await list({ idPrefixes: [a.id, b.id] })).toEqual(["api", "app"]);
  expect(await list({ runtimes: ["plugin"] })).toEqual([]);
  expect(await list({ runtimes: ["container"] })).toEqual(["api", "app"]);
});

test("fills in defaults only where asked and where nothing was said", async () => {
  const context = fixture();
  const { id } = await aService(context);
  const ask = { serviceId: id, insertDefaults: true };
  const { service } = await getService(context, create(GetServiceRequestSchema, ask));
  expect(service?.spec?.update).toMatchObject({ parallelism: 1n, monitor: { seconds: 5n } });
  expect(service?.spec?.task?.restart).toMatchObject({ condition: 2, delay: { seconds: 5n } });
  expect(service?.spec?.task?.runtime.value).toMatchObject({ stopGracePeriod: { seconds: 10n } });
  expect(context.state.view().get("service", id)?.spec?.update).toBeUndefined();
});

test("counts tasks: stated numbers for replicas, tasks for global, iterations for jobs", async () => {
  const context = fixture();
  const replicated = await aService(context, {
    mode: { case: "replicated", value: { replicas: 4n } as never },
  });
  const global = await aService(context, {
    annotations: { name: "g" },
    mode: { case: "global", value: {} as never },
  });
  const job = await aService(context, {
    annotations: { name: "j" },
    mode: { case: "replicatedJob", value: { maxConcurrent: 2n, totalCompletions: 5n } as never },
  });
  const tasks: [string, TaskState, TaskState, bigint?][] = [
    [replicated.id, TaskState.RUNNING, TaskState.RUNNING],
    [replicated.id, TaskState.FAILED, TaskState.SHUTDOWN],
    [global.id, TaskState.RUNNING, TaskState.RUNNING],
    [global.id, TaskState.PREPARING, TaskState.RUNNING],
    [global.id, TaskState.SHUTDOWN, TaskState.SHUTDOWN],
    [job.id, TaskState.COMPLETE, TaskState.COMPLETE, 0n],
    [job.id, TaskState.RUNNING, TaskState.COMPLETE, 0n],
    [job.id, TaskState.COMPLETE, TaskState.COMPLETE, 7n],
  ];
  await context.state.update("orchestrator", (tx) => {
    tasks.forEach(([serviceId, state, desiredState, index], at) => {
      const jobIteration = index === undefined ? undefined : { index };
      tx.create(
        "task",
        create(TaskSchema, {
          id: `t${at}`,
          serviceId,
          status: { state },
          desiredState,
          jobIteration,
        }),
      );
    });
  });
  await context.state.update("dispatcher", (tx) => {
    tx.create("node", create(NodeSchema, { id: "dead", status: { state: NodeStatus_State.DOWN } }));
  });
  await context.state.update("orchestrator", (tx) => {
    tx.create(
      "task",
      create(TaskSchema, {
        id: "lost",
        serviceId: replicated.id,
        nodeId: "dead",
        status: { state: TaskState.RUNNING },
        desiredState: TaskState.SHUTDOWN,
      }),
    );
  });
  const services = [replicated.id, global.id, job.id, "gone"];
  const request = create(ListServiceStatusesRequestSchema, { services });
  const { statuses } = await listServiceStatuses(context, request);
  const rows = statuses.map((s) => [s.desiredTasks, s.runningTasks, s.completedTasks]);
  expect(rows).toEqual([
    [4n, 1n, 0n],
    [2n, 1n, 0n],
    [2n, 1n, 1n],
    [0n, 0n, 0n],
  ]);
});

function alphabetically(a: string, b: string): number {
  return a < b ? -1 : 1;
}
