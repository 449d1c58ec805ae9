import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type {
  Node as SdkNode,
  Secret as SdkSecret,
  Service as SdkService,
  Swarm as SdkSwarm,
  Task as SdkTask,
} from "@docker/node-sdk";
import fc from "fast-check";
import { describe, expect, expectTypeOf, test } from "vitest";
import { EngineError } from "#base/error.ts";
import type { Node } from "#wire/docker/nodes.ts";
import type { Secret } from "#wire/docker/secrets.ts";
import type { Service, ServiceSpec } from "#wire/docker/services.ts";
import type { Swarm } from "#wire/docker/swarm.ts";
import type { Task } from "#wire/docker/tasks.ts";
import { NodeSpec_Membership, ServiceSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { networkSpecFromJson } from "./networks.ts";
import { nodeSpecFromJson } from "./nodes.ts";
import { configSpecFromJson, secretSpecFromJson } from "./payloads.ts";
import { readJson } from "./read-json.ts";
import { serviceSpecFromJson, serviceSpecToJson } from "./service-spec.ts";
import {
  initRequestFromJson,
  joinRequestFromJson,
  swarmSpecFromJson,
  swarmSpecToJson,
} from "./swarm.ts";
import { taskStateName, taskStateOf } from "./tasks.ts";
import { fromUnixSeconds } from "./time-text.ts";
import { shortFloat32, uint64Number } from "./write-json.ts";

const NEWEST = 99;

/** Through the wire too: what is not in the message is not stored. */
function roundTrip(spec: unknown): ServiceSpec {
  const message = serviceSpecFromJson(readJson(spec, NEWEST));
  const stored = fromBinary(ServiceSpecSchema, toBinary(ServiceSpecSchema, message));
  return serviceSpecToJson(stored);
}

const word = fc.stringMatching(/^[a-z][a-z0-9/._-]{0,9}$/);
const words = fc.array(word, { minLength: 1, maxLength: 3 });
const map = fc.dictionary(word, fc.string({ maxLength: 5 }), { minKeys: 1, maxKeys: 3 });
const positive = fc.integer({ min: 1, max: 2 ** 31 - 1 });
const duration = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
const signed = fc.integer({ min: -1000, max: 1000 }).filter((value) => value !== 0);
const on = fc.constant(true);
const base64 = fc
  .uint8Array({ minLength: 1, maxLength: 9 })
  .map((b) => Buffer.from(b).toString("base64"));

/** Every member may be missing, and none holds the value that means the same as missing. */
function some(members: Record<string, fc.Arbitrary<unknown>>) {
  return fc.record(members, { requiredKeys: [] });
}

const driver = some({ Name: word, Options: map });
const file = fc.record({ Name: word, UID: word, GID: word, Mode: positive });
const generic = fc.oneof(
  fc.record({ NamedResourceSpec: some({ Kind: word, Value: word }) }),
  fc.record({ DiscreteResourceSpec: some({ Kind: word, Value: positive }) }),
);

const privileges = fc
  .record({
    CredentialSpec: fc.constantFrom(
      null,
      { Config: "c", File: "", Registry: "" },
      { Config: "", File: "f", Registry: "" },
      { Config: "", File: "", Registry: "r" },
    ),
    SELinuxContext: fc.option(
      fc.record({ Disable: fc.boolean(), User: word, Role: word, Type: word, Level: word }),
      { nil: null },
    ),
    NoNewPrivileges: fc.boolean(),
  })
  .chain((fixed) =>
    some({
      Seccomp: fc.oneof(
        fc.constantFrom({ Mode: "default" }, { Mode: "unconfined" }),
        fc.record({ Mode: fc.constant("custom"), Profile: base64 }),
      ),
      AppArmor: fc.record({ Mode: fc.constantFrom("default", "disabled") }),
    }).map((optional) => ({ ...fixed, ...optional })),
  );

const mount = fc
  .record({ Type: fc.constantFrom("bind", "volume", "tmpfs", "npipe") })
  .chain((fixed) =>
    some({
      Source: word,
      Target: word,
      ReadOnly: on,
      Consistency: fc.constantFrom("consistent", "cached", "delegated"),
      BindOptions: some({
        NonRecursive: on,
        CreateMountpoint: on,
        ReadOnlyNonRecursive: on,
        ReadOnlyForceRecursive: on,
      }).chain((flags) =>
        fc
          .constantFrom("private", "rprivate", "shared", "rshared", "slave", "rslave")
          .map((Propagation) => ({ ...flags, Propagation })),
      ),
      VolumeOptions: some({ NoCopy: on, Labels: map, Subpath: word, DriverConfig: driver }),
      TmpfsOptions: some({
        SizeBytes: positive,
        Mode: positive,
        Options: fc.array(fc.array(word, { minLength: 1, maxLength: 2 }), {
          minLength: 1,
          maxLength: 2,
        }),
      }),
    }).map((optional) => ({ ...fixed, ...optional })),
  );

const container = some({
  Image: word,
  Labels: map,
  Command: words,
  Args: words,
  Hostname: word,
  Env: words,
  Dir: word,
  User: word,
  Groups: words,
  Privileges: privileges,
  Init: fc.boolean(),
  StopSignal: word,
  TTY: on,
  OpenStdin: on,
  ReadOnly: on,
  Mounts: fc.array(mount, { minLength: 1, maxLength: 2 }),
  StopGracePeriod: fc.integer({ min: 0, max: 1e12 }),
  Healthcheck: some({
    Test: words,
    Interval: duration,
    Timeout: duration,
    StartPeriod: duration,
    StartInterval: duration,
    Retries: positive,
  }),
  Hosts: words,
  DNSConfig: some({ Nameservers: words, Search: words, Options: words }),
  Secrets: fc.array(fc.record({ File: file, SecretID: word, SecretName: word }), {
    minLength: 1,
    maxLength: 2,
  }),
  Configs: fc.array(
    fc.oneof(
      fc.record({ File: file, ConfigID: word, ConfigName: word }),
      fc.record({ Runtime: fc.constant({}), ConfigID: word, ConfigName: word }),
    ),
    { minLength: 1, maxLength: 2 },
  ),
  Sysctls: map,
  CapabilityAdd: words,
  CapabilityDrop: words,
  Ulimits: fc.array(fc.record({ Name: word, Soft: fc.integer(), Hard: fc.integer() }), {
    minLength: 1,
    maxLength: 2,
  }),
  OomScoreAdj: signed,
}).chain((spec) =>
  fc.constantFrom("default", "process", "hyperv").map((Isolation) => ({ ...spec, Isolation })),
);

const port = fc
  .record({
    Protocol: fc.constantFrom("tcp", "udp", "sctp"),
    PublishMode: fc.constantFrom("ingress", "host"),
  })
  .chain((fixed) =>
    some({
      Name: word,
      TargetPort: fc.integer({ min: 1, max: 65_535 }),
      PublishedPort: fc.integer({ min: 1, max: 65_535 }),
    }).map((optional) => ({ ...fixed, ...optional })),
  );

const update = fc
  .record({
    Parallelism: fc.nat(),
    FailureAction: fc.constantFrom("pause", "continue", "rollback"),
    MaxFailureRatio: fc.constantFrom(0, 0.15, 0.25, 0.333, 1),
    Order: fc.constantFrom("stop-first", "start-first"),
  })
  .chain((fixed) =>
    some({ Delay: duration, Monitor: duration }).map((optional) => ({ ...fixed, ...optional })),
  );

const networks = fc.array(some({ Target: word, Aliases: words, DriverOpts: map }), {
  minLength: 1,
  maxLength: 2,
});

const task = some({
  Resources: some({
    Limits: some({ NanoCPUs: positive, MemoryBytes: positive, Pids: positive }),
    Reservations: some({
      NanoCPUs: positive,
      MemoryBytes: positive,
      GenericResources: fc.array(generic, { minLength: 1, maxLength: 2 }),
    }),
    SwapBytes: fc.integer(),
    MemorySwappiness: fc.integer(),
  }),
  RestartPolicy: fc
    .record({ Condition: fc.constantFrom("none", "on-failure", "any"), MaxAttempts: fc.nat() })
    .chain((fixed) =>
      some({ Delay: fc.nat(), Window: fc.nat() }).map((optional) => ({ ...fixed, ...optional })),
    ),
  Placement: some({
    Constraints: words,
    Preferences: fc.array(fc.record({ Spread: fc.record({ SpreadDescriptor: word }) }), {
      minLength: 1,
      maxLength: 2,
    }),
    MaxReplicas: positive,
    Platforms: fc.array(some({ Architecture: word, OS: word }), { minLength: 1, maxLength: 2 }),
  }),
  Networks: networks,
  LogDriver: driver,
}).chain((optional) =>
  fc
    .record({ ContainerSpec: container, ForceUpdate: fc.nat(), Runtime: fc.constant("container") })
    .map((fixed) => ({ ...fixed, ...optional })),
);

const mode = fc.oneof(
  fc.record({ Replicated: fc.record({ Replicas: fc.nat() }) }),
  fc.constant({ Global: {} }),
  fc.record({ ReplicatedJob: fc.record({ MaxConcurrent: fc.nat(), TotalCompletions: fc.nat() }) }),
  fc.constant({ GlobalJob: {} }),
);

const service = some({
  Name: word,
  UpdateConfig: update,
  RollbackConfig: update,
  Networks: networks,
  EndpointSpec: fc.constantFrom("vip", "dnsrr").chain((Mode) =>
    some({ Ports: fc.array(port, { minLength: 1, maxLength: 2 }) }).map((rest) => ({
      Mode,
      ...rest,
    })),
  ),
}).chain((optional) =>
  fc
    .record({ Labels: map, TaskTemplate: task, Mode: mode })
    .map((fixed) => ({ ...fixed, ...optional })),
);

describe("services", () => {
  test("a spec comes back as it went in, every member of it", () => {
    fc.assert(
      fc.property(service, (spec) => {
        expect(roundTrip(spec)).toEqual(spec);
      }),
      { numRuns: 300 },
    );
  });

  test("names match without regard to case, and null means absent", () => {
    const spec = roundTrip({
      name: "a",
      labels: null,
      taskTEMPLATE: { containerspec: { IMAGE: "x", tty: true, Env: null } },
      mode: { replicated: { replicas: 0 } },
    });
    expect(spec).toMatchObject({
      Name: "a",
      Labels: {},
      TaskTemplate: { ContainerSpec: { Image: "x", TTY: true } },
      Mode: { Replicated: { Replicas: 0 } },
    });
  });

  test.each([
    [{ Mode: { ReplicatedJob: {} } }, { ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 1 } }],
    [
      { Mode: { ReplicatedJob: { MaxConcurrent: 4 } } },
      { ReplicatedJob: { MaxConcurrent: 4, TotalCompletions: 4 } },
    ],
    [{ Mode: { Replicated: {} } }, { Replicated: { Replicas: 1 } }],
    [{}, { Replicated: { Replicas: 1 } }],
  ])("%o means %o", (given, expected) => {
    expect(roundTrip({ TaskTemplate: { ContainerSpec: {} }, ...given }).Mode).toEqual(expected);
  });

  test('numbers that clients mean as "all bits" stay numbers that they can read', () => {
    const MaxAttempts = 2 ** 64;
    const spec = roundTrip({ TaskTemplate: { ContainerSpec: {}, RestartPolicy: { MaxAttempts } } });
    const back = spec.TaskTemplate.RestartPolicy?.MaxAttempts ?? 0;
    expect(BigInt(back)).toBeLessThan(2n ** 64n);
  });
});

test("whatever arrives is converted or refused as the client's fault", () => {
  const readers = [
    serviceSpecFromJson,
    swarmSpecFromJson,
    secretSpecFromJson,
    configSpecFromJson,
    networkSpecFromJson,
    initRequestFromJson,
    joinRequestFromJson,
    (json: ReturnType<typeof readJson>) => nodeSpecFromJson(json, NodeSpec_Membership.ACCEPTED),
  ];
  const junk = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom(null, -1, 1e30, 0.5, "x", [], {}),
  );
  const names = fc.constantFrom(
    "Name",
    "Labels",
    "TaskTemplate",
    "Mode",
    "Replicated",
    "ContainerSpec",
    "Mounts",
    "Spec",
    "Raft",
    "CAConfig",
    "ExternalCAs",
    "IPAM",
    "Data",
    "Role",
    "Availability",
    "ListenAddr",
    "RemoteAddrs",
    "EndpointSpec",
    "Ports",
    "UpdateConfig",
    "Resources",
    "Limits",
    "Healthcheck",
    "Privileges",
  );
  const body = fc.dictionary(
    names,
    fc.oneof(junk, fc.dictionary(names, fc.oneof(junk, fc.dictionary(names, junk)))),
  );
  fc.assert(
    fc.property(body, fc.integer({ min: 24, max: 60 }), (value, minor) => {
      for (const reader of readers) {
        try {
          reader(readJson(value, minor));
        } catch (error) {
          expect(error).toBeInstanceOf(EngineError);
          expect((error as EngineError).code).toBe("invalid-argument");
        }
      }
    }),
    { numRuns: 500 },
  );
});

test("the swarm's settings come back as they went in", () => {
  const spec = {
    Name: "default",
    Labels: { a: "b" },
    Orchestration: { TaskHistoryRetentionLimit: -1 },
    Raft: {
      SnapshotInterval: 7,
      KeepOldSnapshots: 1,
      LogEntriesForSlowFollowers: 3,
      ElectionTick: 9,
      HeartbeatTick: 2,
    },
    Dispatcher: { HeartbeatPeriod: 11e9 },
    CAConfig: {
      NodeCertExpiry: 31_536e12,
      ExternalCAs: [{ Protocol: "cfssl", URL: "https://x", Options: { k: "v" }, CACert: "PEM" }],
      ForceRotate: 4,
    },
    TaskDefaults: { LogDriver: { Name: "json-file", Options: { a: "b" } } },
    EncryptionConfig: { AutoLockManagers: true },
    AcceptancePolicy: { Policies: [{ Role: "worker", Autoaccept: false }] },
  };
  expect(swarmSpecToJson(swarmSpecFromJson(readJson(spec, NEWEST)))).toEqual(spec);
});

test("every state of a task has a name, and every name its state", () => {
  for (const state of Object.values(TaskState).filter((value) => typeof value === "number")) {
    expect(taskStateOf(taskStateName(state).toUpperCase())).toBe(state);
  }
  expect(taskStateOf("constructor")).toBeUndefined();
});

test("times and numbers are written as Go does", () => {
  expect(fromUnixSeconds(0n, 0)).toBe("1970-01-01T00:00:00Z");
  expect(fromUnixSeconds(1_471_517_064n, 496_525_531)).toBe("2016-08-18T10:44:24.496525531Z");
  expect(fromUnixSeconds(-62_135_596_800n, 0)).toBe("0001-01-01T00:00:00Z");
  expect(fromUnixSeconds(1n, 500)).toBe("1970-01-01T00:00:01.0000005Z");
  expect(shortFloat32(Math.fround(0.15))).toBe(0.15);
  expect(uint64Number(2n ** 64n - 1n)).toBe(2 ** 64 - 2 ** 11);
});

test("what we answer has the members that docker's SDK reads", () => {
  // Docker's own engine sends these too, although its schema does not name them.
  type Unnamed = "PreviousSpec" | "NetworksAttachments" | "Volumes";
  // What docker has no word for.
  type Ours = "AllocationError" | "Rollout" | "StartAfter";
  expectTypeOf<Exclude<keyof Service, Unnamed | Ours>>().toExtend<keyof SdkService>();
  expectTypeOf<Exclude<keyof Task, Unnamed>>().toExtend<keyof SdkTask>();
  expectTypeOf<Exclude<keyof Node, "KeyFingerprint" | "IdentityLabels">>().toExtend<
    keyof SdkNode
  >();
  expectTypeOf<keyof Swarm>().toExtend<keyof SdkSwarm>();
  expectTypeOf<keyof Secret>().toExtend<keyof SdkSecret>();
  expectTypeOf<keyof Service["Spec"]>().toExtend<keyof NonNullable<SdkService["Spec"]>>();
  expectTypeOf<Service["ServiceStatus"]>().toExtend<SdkService["ServiceStatus"]>();
});
