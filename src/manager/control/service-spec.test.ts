import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import type { ContainerSpecSchema, ServiceSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import {
  EndpointSpec_ResolutionMode,
  ServiceSpecSchema as Schema,
} from "#wire/gen/swarmkit/specs_pb.js";
import { PortConfig_Protocol, PortConfig_PublishMode } from "#wire/gen/swarmkit/types_pb.js";
import { checkServiceSpec } from "./service-spec.ts";
import { serviceSpec } from "./testing/fixture.ts";

type Spec = MessageInitShape<typeof ServiceSpecSchema>;
type Container = MessageInitShape<typeof ContainerSpecSchema>;

const container = (value: Container): Spec => ({
  task: { runtime: { case: "container", value: { image: "nginx", ...value } as never } },
});
const task = (value: Spec["task"]): Spec => ({
  task: { runtime: { case: "container", value: { image: "nginx" } }, ...value } as never,
});
const file = (name: string) => ({ case: "file" as const, value: { name } as never });
const ms = (count: number) => ({ seconds: 0n, nanos: count * 1_000_000 });
const MINUS = { seconds: -1n, nanos: 0 };
const INGRESS = PortConfig_PublishMode.INGRESS;

const REFUSED: readonly (readonly [Spec, string])[] = [
  [{ annotations: { name: "" } }, "meta: name must be provided"],
  [{ annotations: { name: "a.b" } }, "name must be valid as a DNS name component"],
  [{ annotations: { name: "-a" } }, "name must be valid as a DNS name component"],
  [{ annotations: { name: "a".repeat(64) } }, "name must be 63 characters or fewer"],
  [
    { annotations: { name: "web", labels: { "skep.mesh.addresses.80": "eth0" } } },
    'label skep.mesh.addresses.80: "eth0" is neither an address nor a CIDR',
  ],
  ...["fast", "constructor"].map(
    (strategy) =>
      [
        { annotations: { name: "web", labels: { "skep.update.strategy": strategy } } },
        "label skep.update.strategy must be rolling, canary or blue-green",
      ] as const,
  ),
  [{ task: {} }, "TaskSpec: missing runtime"],
  [container({ image: "" }), "ContainerSpec: image reference must be provided"],
  [container({ image: "Nginx" }), 'ContainerSpec: "Nginx" is not a valid repository/tag'],
  [container({ image: "nginx:" }), 'ContainerSpec: "nginx:" is not a valid repository/tag'],
  [
    container({ image: "a".repeat(64) }),
    `ContainerSpec: "${"a".repeat(64)}" is not a valid repository/tag`,
  ],
  [
    container({ mounts: [{ target: "/a" }, { target: "/a" }] }),
    "ContainerSpec: duplicate mount point: /a",
  ],
  [
    container({ healthcheck: { interval: { seconds: 0n, nanos: 1 } } }),
    "ContainerSpec: Interval in HealthConfig cannot be less than 1ms",
  ],
  [
    container({ healthcheck: { timeout: MINUS } }),
    "ContainerSpec: Timeout in HealthConfig cannot be less than 1ms",
  ],
  [
    container({ healthcheck: { startPeriod: MINUS } }),
    "ContainerSpec: StartPeriod in HealthConfig cannot be less than 1ms",
  ],
  [
    container({ healthcheck: { startInterval: MINUS } }),
    "ContainerSpec: StartInterval in HealthConfig cannot be less than 1ms",
  ],
  [
    container({ healthcheck: { retries: -1 } }),
    "ContainerSpec: Retries in HealthConfig cannot be negative",
  ],
  [
    task({ resources: { limits: { nanoCpus: 1000n } } }),
    "invalid cpu value 1e-06: Must be at least 0.001",
  ],
  [
    task({ resources: { reservations: { nanoCpus: 500_000n } } }),
    "invalid cpu value 0.0005: Must be at least 0.001",
  ],
  [
    task({ resources: { limits: { memoryBytes: 1024n } } }),
    "invalid memory value 1024: Must be at least 4MiB",
  ],
  [task({ restart: { delay: MINUS } }), "TaskSpec: restart-delay cannot be negative"],
  [task({ restart: { window: MINUS } }), "TaskSpec: restart-window cannot be negative"],
  [
    task({ placement: { constraints: ["node.role=worker"] } }),
    "constraint expected one operator from ==, !=",
  ],
  [task({ placement: { constraints: ["1x==a"] } }), "key '1x' is invalid"],
  [task({ placement: { constraints: ["node.id==a~b"] } }), "value 'a~b' is invalid"],
  [{ mode: { case: undefined } }, "Unrecognized service mode"],
  [
    { mode: { case: "replicated", value: { replicas: 2n ** 64n - 1n } as never } },
    "Number of replicas must be non-negative",
  ],
  [
    { mode: { case: "globalJob", value: {} as never }, update: {} },
    "Jobs may not have an update config",
  ],
  [{ update: { delay: MINUS } }, "TaskSpec: update-delay cannot be negative"],
  [{ update: { monitor: MINUS } }, "TaskSpec: update-monitor cannot be negative"],
  [
    { update: { maxFailureRatio: 1.5 } },
    "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
  ],
  [
    { update: { maxFailureRatio: Number.NaN } },
    "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
  ],
  [
    { endpoint: { ports: [{ publishedPort: 80 }, { publishedPort: 80 }] } },
    "EndpointSpec: duplicate published ports provided",
  ],
  [
    {
      endpoint: {
        mode: EndpointSpec_ResolutionMode.DNSRR,
        ports: [{ publishMode: INGRESS, targetPort: 80 }],
      },
    },
    "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
  ],
  [container({ secrets: [{ secretId: "s" }] }), "malformed secret reference"],
  [
    container({ secrets: [{ secretId: "s", secretName: "n" }] }),
    "malformed secret reference, no target provided",
  ],
  [
    container({ secrets: [{ secretId: "s", secretName: "n", target: file("") }] }),
    "malformed file secret reference, invalid target file name provided",
  ],
  [
    container({
      secrets: [
        { secretId: "1", secretName: "a", target: file("x") },
        { secretId: "2", secretName: "b", target: file("x") },
      ],
    }),
    "secret references 'a' and 'b' have a conflicting target: 'x'",
  ],
  [
    container({
      configs: [
        { configId: "1", configName: "a", target: file("x") },
        { configId: "2", configName: "b", target: file("x") },
      ],
    }),
    "config references 'a' and 'b' have a conflicting target: 'x'",
  ],
  [
    container({ privileges: { credentialSpec: { source: { case: "config", value: "c1" } } } }),
    "CredentialSpec references config 'c1', but that config isn't in config references with RuntimeTarget",
  ],
  [
    { task: { runtime: { case: "generic", value: { kind: "container" } as never } } },
    'Generic runtime: "container" is a reserved name',
  ],
];

test.each(REFUSED.map(([spec, message]) => ({ spec, message })))(
  "refuses: $message",
  ({ spec: changes, message }) => {
    const spec = create(Schema, serviceSpec(changes));
    let thrown: unknown;
    try {
      checkServiceSpec(spec);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(EngineError);
    expect(thrown).toMatchObject({ code: "invalid-argument", message });
  },
);

const ALLOWED: readonly Spec[] = [
  { annotations: { name: "a_-b9" } },
  container({ image: "registry.example.com:5000/team/app:v1@sha256:" + "a".repeat(64) }),
  container({ image: "{{.Service.Name}}" }),
  container({ image: "localhost/x" }),
  container({ image: "[fd00::1]:5000/x" }),
  container({ healthcheck: { interval: ms(0), timeout: ms(1), startPeriod: ms(1) } }),
  container({ mounts: [{ target: "/a" }, { target: "/b" }] }),
  task({ resources: { limits: { nanoCpus: 1_000_000n, memoryBytes: 4n * 1024n * 1024n } } }),
  task({ placement: { constraints: ["node.role == worker", "node.labels.x!=a b"] } }),
  {
    endpoint: {
      ports: [
        { publishedPort: 53, protocol: PortConfig_Protocol.TCP },
        { publishedPort: 53, protocol: PortConfig_Protocol.UDP },
        { publishedPort: 0 },
        { publishedPort: 0 },
      ],
    },
  },
  { update: { maxFailureRatio: 1 } },
];

test.each(ALLOWED)("allows %#", (changes) => {
  expect(() => checkServiceSpec(create(Schema, serviceSpec(changes)))).not.toThrow();
});

test("checks a hostile image name in linear time", () => {
  const spec = serviceSpec(container({ image: `${"a-".repeat(200)}!` }));
  const name = serviceSpec({ annotations: { name: `${"a-".repeat(50_000)}!` } });
  expect(() => checkServiceSpec(spec)).toThrow("is not a valid repository/tag");
  expect(() => checkServiceSpec(name)).toThrow("name must be valid");
});
