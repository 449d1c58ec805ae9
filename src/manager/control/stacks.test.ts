import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { beforeEach, describe, expect, test } from "vitest";
import {
  DeployStackRequestSchema,
  type DeployStackResponse,
  GetStackRequestSchema,
  PromoteServiceRequestSchema,
} from "#wire/gen/skep/deploy_pb.js";
import type { ServiceSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import { PortConfig_PublishMode as PublishMode } from "#wire/gen/swarmkit/types_pb.js";
import { deployHandlers } from "./deploy.ts";
import { deployStack, getStack } from "./stacks.ts";
import { aService, type Fixture, fixture, refusalOf, serviceSpec } from "./testing/fixture.ts";

let context: Fixture;
beforeEach(() => {
  context = fixture();
});

const labels = { "com.docker.stack.namespace": "st" };
const named = (name: string) => ({ annotations: { name, labels } });
const bytes = (text: string) => new TextEncoder().encode(text);
type ServiceInit = MessageInitShape<typeof ServiceSpecSchema>;

function service(name: string, changes: ServiceInit = {}) {
  return serviceSpec({ ...named(name), ...changes } as ServiceInit);
}

function container(value: object, networks: readonly string[] = []): ServiceInit {
  const runtime = { case: "container", value: { image: "nginx:1.27", ...value } };
  return { task: { runtime, networks: networks.map((target) => ({ target })) } } as ServiceInit;
}

function deploy(request: MessageInitShape<typeof DeployStackRequestSchema> = {}) {
  return deployStack(context, create(DeployStackRequestSchema, { name: "st", ...request }));
}

const revision = async () =>
  (await getStack(context, create(GetStackRequestSchema, { name: "st" }))).revision;

const told = ({ changes }: DeployStackResponse) =>
  changes.map(({ action, kind, name }) => `${action} ${kind} ${name}`);

function names(kind: "network" | "secret" | "config" | "service"): readonly string[] {
  return [...context.state.view().all(kind)].map(({ spec }) => spec?.annotations?.name ?? "");
}

const file = (name: string) => ({ case: "file", value: { name } });
const whole = {
  networks: [named("st_net")],
  secrets: [{ ...named("st_key"), data: bytes("hunter2") }],
  configs: [{ ...named("st_conf"), data: bytes("a=1") }],
  services: [
    service(
      "st_web",
      container(
        {
          secrets: [{ secretName: "st_key", target: file("key") }],
          configs: [{ configName: "st_conf", target: file("conf") }],
        },
        ["st_net"],
      ),
    ),
    service("st_db"),
  ],
};

test("all kinds in one entry of the log, names made ids", async () => {
  const answer = await deploy(whole);
  expect(told(answer)).toEqual([
    "create network st_net",
    "create secret st_key",
    "create config st_conf",
    "create service st_web",
    "create service st_db",
  ]);
  const view = context.state.view();
  const versions = answer.changes.map(
    ({ kind, id }) => view.get(kind as "service", id)?.meta?.version?.index,
  );
  expect(new Set(versions).size).toBe(1);
  const web = view.byName("service", "st_web")?.spec?.task;
  const runtime = web?.runtime;
  if (runtime?.case !== "container") throw new Error("no container");
  expect(web?.networks[0]?.target).toBe(view.byName("network", "st_net")?.id);
  expect(runtime.value.secrets[0]?.secretId).toBe(view.byName("secret", "st_key")?.id);
  expect(runtime.value.configs[0]?.configId).toBe(view.byName("config", "st_conf")?.id);
  expect(answer.revision).toBe(await revision());
});

describe("a service that is refused leaves nothing behind", () => {
  const mesh = { publishedPort: 80, targetPort: 80 };
  const port = { ...mesh, publishMode: PublishMode.HOST };
  test.each([
    ["its spec", service("st_bad", container({ image: "" })), "image reference must be provided"],
    [
      "its port",
      service("st_bad", { endpoint: { ports: [mesh] } }),
      "port '80' is already in use by service 'other'",
    ],
    [
      "a config that is not there",
      service("st_bad", container({ configs: [{ configName: "no", target: file("x") }] })),
      "config not found: no",
    ],
    [
      "a network that is not there",
      service("st_bad", container({}, ["nope"])),
      "network not found",
    ],
  ])("%s", async (_why, bad, message) => {
    await aService(context, { annotations: { name: "other" }, endpoint: { ports: [port] } });
    const before = context.state.view().index;
    const refusal = await refusalOf(deploy({ ...whole, services: [...whole.services, bad] }));
    expect(refusal).toContain("failed to create service st_bad: ");
    expect(refusal).toContain(message);
    expect(context.state.view().index).toBe(before);
    expect(names("service")).toEqual(["other"]);
    expect([names("network"), names("secret"), names("config")]).toEqual([[], [], []]);
  });
});

test("what is there is kept, changed and removed, again in one entry", async () => {
  const first = await deploy(whole);
  const db = first.changes.find(({ name }) => name === "st_db")?.id ?? "";
  const second = await deploy({
    ...whole,
    services: [service("st_web", { mode: { case: "replicated", value: { replicas: 3n } } })],
    configs: [{ ...named("st_conf2"), data: bytes("a=2") }],
    removedServices: [db],
  });
  expect(told(second)).toEqual([
    "remove service st_db",
    "keep network st_net",
    "keep secret st_key",
    "create config st_conf2",
    "update service st_web",
  ]);
  const view = context.state.view();
  expect(names("service")).toEqual(["st_web"]);
  expect(view.byName("service", "st_web")?.previousSpec).toBeDefined();
  expect(view.byName("service", "st_web")?.meta?.version?.index).toBe(
    view.byName("config", "st_conf2")?.meta?.version?.index,
  );
});

test("another content under the same name changes nothing", async () => {
  await deploy(whole);
  const before = context.state.view().index;
  const configs = [{ ...named("st_conf"), data: bytes("a=2") }];
  expect(await refusalOf(deploy({ ...whole, configs, services: [service("st_new")] }))).toBe(
    "invalid-argument: failed to update config st_conf: only updates to Labels are allowed\nWhat a config holds cannot be changed: give the new one another name in the Compose file",
  );
  expect(context.state.view().index).toBe(before);
});

describe("revisions", () => {
  test("a stack that was changed since the plan is not deployed over", async () => {
    const planned = await revision();
    await deploy({ ...whole, revision: planned });
    expect(await refusalOf(deploy({ ...whole, revision: planned }))).toMatch(
      /^conflict: stack st was changed by somebody else/,
    );
    expect(await refusalOf(deploy({ ...whole, revision: await revision() }))).toBe("ok");
  });

  test("follow the specs, not what an update or the allocator notes", async () => {
    await deploy(whole);
    const before = await revision();
    await context.state.update("orchestrator", (tx) => {
      const found = tx.byName("service", "st_web");
      if (found === undefined) throw new Error("no service");
      tx.update("service", { ...found, allocationError: "no addresses" });
    });
    await aService(context, { annotations: { name: "elsewhere" } });
    expect(await revision()).toBe(before);
    await deploy({ services: [service("st_db", { mode: { case: "global", value: {} } })] }).catch(
      () => undefined,
    );
    expect(await revision()).toBe(before);
    await deploy({ services: [service("st_db", container({ user: "7" }))] });
    expect(await revision()).not.toBe(before);
  });
});

describe("services that wait for others", () => {
  const waiting = (changes: object = {}) =>
    service("st_web", {
      ...container(changes),
      annotations: { name: "st_web", labels: { ...labels, "skep.start-after": "st_db=healthy" } },
    } as ServiceInit);
  const found = (name: string) => context.state.view().byName("service", name);

  test("wait for what the same deploy makes of those, in any order", async () => {
    await deploy({ services: [service("st_db")] });
    await deploy({ services: [waiting(), service("st_db", container({ user: "7" }))] });
    const db = found("st_db");
    expect(db?.specVersion?.index).toBeGreaterThan(0n);
    expect(found("st_web")?.startAfter).toMatchObject([
      { service: "st_db", serviceId: db?.id, specVersion: db?.specVersion?.index },
    ]);
  });

  test("do not wait for a change of something else, and can be told not to", async () => {
    const handlers = deployHandlers(context);
    await deploy({ services: [service("st_db"), waiting()] });
    const serviceId = found("st_web")?.id ?? "";
    const promote = () =>
      handlers.promoteService(
        create(PromoteServiceRequestSchema, { serviceId }),
        undefined as never,
      );
    await promote();
    expect(found("st_web")?.startAfter).toEqual([]);
    await deploy({ services: [service("st_db"), waiting()] });
    expect(found("st_web")?.startAfter).toEqual([]);
    await deploy({ services: [waiting({ user: "7" })] });
    expect(found("st_web")?.startAfter).toHaveLength(1);
    await promote();
    await expect(promote()).rejects.toThrow("no version on trial to promote");
  });

  test("are refused for what nobody can wait for", async () => {
    const bad = service("st_web", {
      annotations: { name: "st_web", labels: { ...labels, "skep.start-after": "st_web=healthy" } },
    });
    expect(await refusalOf(deploy({ services: [bad] }))).toContain("cannot wait for itself");
  });
});

test("a dry run says the same and does nothing", async () => {
  const answer = await deploy({ ...whole, dryRun: true });
  expect(told(answer)).toHaveLength(5);
  expect(names("service")).toEqual([]);
  const bad = [service("st_bad", container({ image: "" }))];
  expect(await refusalOf(deploy({ services: bad, dryRun: true }))).toMatch(/^invalid-argument/);
});

test("only objects of the stack are removed or changed", async () => {
  const other = await aService(context, { annotations: { name: "other" } });
  expect(await refusalOf(deploy({ removedServices: [other.id] }))).toBe(
    `not-found: stack st has no service ${other.id}`,
  );
  expect(await refusalOf(deploy({ services: [service("other")] }))).toBe(
    "conflict: failed to update service other: there is a service of that name which is not of stack st",
  );
});

test("more than one entry may hold is refused with what to do", async () => {
  const configs = Array.from({ length: 9 }, (_, number) => ({
    ...named(`st_c${number}`),
    data: new Uint8Array(999_999),
  }));
  expect(await refusalOf(deploy({ configs, dryRun: true }))).toMatch(
    /^invalid-argument: stack st is too large to be deployed as a whole: \d+ bytes, .* at most 8388608 are allowed\. Make the largest/,
  );
  expect(await refusalOf(deploy({ configs: configs.slice(0, 8) }))).toBe("ok");
});

test("a name twice", async () => {
  expect(await refusalOf(deploy({ services: [service("st_a"), service("st_a")] }))).toBe(
    "invalid-argument: st_a is twice among the services of the stack",
  );
});

test("credentials of before stay unless others come", async () => {
  const pullOptions = { registryAuth: "abc" };
  await deploy({ services: [service("st_a", container({ pullOptions }))] });
  await deploy({ services: [service("st_a", container({ user: "7" }))] });
  const runtime = context.state.view().byName("service", "st_a")?.spec?.task?.runtime;
  if (runtime?.case !== "container") throw new Error("no container");
  expect([runtime.value.pullOptions?.registryAuth, runtime.value.user]).toEqual(["abc", "7"]);
});
