import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { type Task, TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import type { ContainerSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import {
  Mount_Type,
  NodeDescriptionSchema,
  PortConfig_Protocol as Protocol,
  PortConfig_PublishMode as PublishMode,
  Privileges_SeccompOpts_SeccompMode as SeccompMode,
} from "#wire/gen/swarmkit/types_pb.js";
import { containerBody, imageReference } from "./container-body.ts";
import { expandSpec } from "./task-scope.ts";

const node = create(NodeDescriptionSchema, {
  hostname: "host-1",
  platform: { architecture: "x86_64", os: "linux" },
});

function body(
  container: MessageInitShape<typeof ContainerSpecSchema>,
  more: MessageInitShape<typeof TaskSchema> = {},
  files = [] as { hostPath: string; containerPath: string }[],
) {
  const task = create(TaskSchema, {
    id: "task1",
    nodeId: "node1",
    serviceId: "svc1",
    slot: 2n,
    serviceAnnotations: { name: "web", labels: { tier: "front" } },
    spec: { runtime: { case: "container", value: { image: "nginx", ...container } } },
    ...more,
  } as MessageInitShape<typeof TaskSchema>);
  return containerBody(task, expandSpec(specOf(task), task, node), files);
}

function specOf(task: Task) {
  if (task.spec?.runtime.case !== "container") throw new Error("no container");
  return task.spec.runtime.value;
}

test("a task is recognized by its labels, which nobody can override", () => {
  const { Labels, Image } = body({ labels: { mine: "1", "com.docker.swarm.task.id": "forged" } });
  expect(Image).toBe("nginx:latest");
  expect(Labels).toEqual({
    mine: "1",
    "com.docker.swarm.task": "",
    "com.docker.swarm.task.id": "task1",
    "com.docker.swarm.task.name": "web.2.task1",
    "com.docker.swarm.node.id": "node1",
    "com.docker.swarm.service.id": "svc1",
    "com.docker.swarm.service.name": "web",
  });
});

test("what is asked of the host by labels", () => {
  const labels = {
    "skep.privileged": "true",
    "skep.devices": "/dev/fuse",
    "skep.pid": "host",
    "skep.ipc": "host",
    "skep.shm-size": "128m",
  };
  expect(body({ labels }).HostConfig).toMatchObject({
    Privileged: true,
    Devices: [{ PathOnHost: "/dev/fuse", PathInContainer: "/dev/fuse", CgroupPermissions: "rwm" }],
    PidMode: "host",
    IpcMode: "host",
    ShmSize: 128 << 20,
  });
  expect(body({}).HostConfig).not.toHaveProperty("Privileged");
});

test("a global task's name has the node in place of the slot", () => {
  expect(body({}, { slot: 0n }).Labels?.["com.docker.swarm.task.name"]).toBe("web.node1.task1");
});

test("templates are expanded in env values, hostname and mounts only", () => {
  const { Env, Hostname, HostConfig, Cmd } = body({
    env: ["A={{.Service.Name}}-{{.Task.Slot}}", "B={{.Node.Hostname}}", "PLAIN"],
    hostname: "{{.Node.Hostname}}-{{.Task.Slot}}",
    args: ["{{.Task.ID}}"],
    mounts: [
      {
        type: Mount_Type.VOLUME,
        source: "data-{{.Task.Slot}}",
        target: "/{{.Service.Labels.tier}}",
      },
    ],
  });
  expect(Env).toEqual(["A=web-2", "B=host-1", "PLAIN"]);
  expect(Hostname).toBe("host-1-2");
  expect(Cmd).toEqual(["{{.Task.ID}}"]);
  expect(HostConfig?.Mounts).toMatchObject([{ Source: "data-2", Target: "/front" }]);
  expect(() => body({ env: ["A={{.Nope}}"] })).toThrow('expanding env "A={{.Nope}}"');
});

test("command replaces the entrypoint; arguments alone do not", () => {
  expect(body({ command: ["a"], args: ["b"] })).toMatchObject({ Entrypoint: ["a"], Cmd: ["b"] });
  const alone = body({ args: ["b"] });
  expect(alone.Cmd).toEqual(["b"]);
  expect(alone).not.toHaveProperty("Entrypoint");
});

test("limits, privileges and the rest arrive in the engine's units", () => {
  const { HostConfig, Healthcheck, StopSignal } = body(
    {
      stopSignal: "SIGUSR1",
      hosts: ["10.0.0.1 db alias", "bad"],
      dnsConfig: { nameservers: ["1.1.1.1"], search: ["x"], options: ["ndots:1"] },
      capabilityAdd: ["CAP_NET_ADMIN"],
      ulimits: [{ name: "nofile", soft: 10n, hard: 20n }],
      pidsLimit: 7n,
      init: true,
      readOnly: true,
      privileges: {
        noNewPrivileges: true,
        seccomp: { mode: SeccompMode.UNCONFINED },
        selinuxContext: { type: "t" },
      },
      healthcheck: { test: ["CMD", "x"], interval: durationFromMs(1500), retries: 4 },
    },
    {
      logDriver: { name: "json-file", options: { "max-size": "1m" } },
      assignedGenericResources: [
        { resource: { case: "namedResourceSpec", value: { kind: "gpu", value: "a" } } },
        { resource: { case: "namedResourceSpec", value: { kind: "gpu", value: "b" } } },
      ],
    },
  );
  expect(HostConfig).toMatchObject({
    ExtraHosts: ["db:10.0.0.1"],
    Dns: ["1.1.1.1"],
    CapAdd: ["CAP_NET_ADMIN"],
    Ulimits: [{ Name: "nofile", Soft: 10, Hard: 20 }],
    PidsLimit: 7,
    Init: true,
    ReadonlyRootfs: true,
    SecurityOpt: ["label=type:t", "seccomp=unconfined", "no-new-privileges=true"],
    LogConfig: { Type: "json-file", Config: { "max-size": "1m" } },
    RestartPolicy: { Name: "no" },
    NetworkMode: "default",
  });
  expect(Healthcheck).toMatchObject({ Test: ["CMD", "x"], Interval: 1_500_000_000, Retries: 4 });
  expect(StopSignal).toBe("SIGUSR1");
});

test("memory and swap add up, and no limit means none is sent", () => {
  const withLimits = (swapBytes?: bigint) =>
    body(
      {},
      {
        spec: {
          runtime: { case: "container", value: { image: "x" } },
          resources: {
            limits: { memoryBytes: 100n, nanoCpus: 5n },
            ...(swapBytes === undefined ? {} : { swapBytes }),
          },
        },
      },
    ).HostConfig;
  expect(withLimits()).toMatchObject({ Memory: 100, NanoCpus: 5 });
  expect(withLimits()).not.toHaveProperty("MemorySwap");
  expect(withLimits(50n)).toMatchObject({ MemorySwap: 150 });
  expect(withLimits(-1n)).toMatchObject({ MemorySwap: -1 });
  expect(body({}).HostConfig).not.toHaveProperty("Memory");
});

test("host-mode ports are bound here, ingress ports are not", () => {
  const { HostConfig, ExposedPorts } = body(
    {},
    {
      endpoint: {
        ports: [
          { targetPort: 80, publishedPort: 8080, publishMode: PublishMode.HOST },
          { targetPort: 80, publishedPort: 8081, publishMode: PublishMode.HOST },
          { targetPort: 53, protocol: Protocol.UDP, publishMode: PublishMode.HOST },
          { targetPort: 443, publishedPort: 443, publishMode: PublishMode.INGRESS },
        ],
      },
    },
  );
  expect(HostConfig?.PortBindings).toEqual({
    "80/tcp": [{ HostPort: "8080" }, { HostPort: "8081" }],
    "53/udp": [{}],
  });
  expect(Object.keys(ExposedPorts ?? {}).sort()).toEqual(["53/udp", "80/tcp"]);
});

test("networks: the host's own by mode, the swarm's as endpoints with their addresses", () => {
  const predefined = {
    network: {
      id: "n0",
      spec: { annotations: { name: "host", labels: { "com.docker.swarm.predefined": "true" } } },
    },
  };
  const overlay = {
    network: { id: "n1", spec: { annotations: { name: "mesh" } } },
    addresses: ["10.0.1.5/24", "fd00::5/64"],
    aliases: ["api"],
  };
  expect(body({}, { networks: [predefined] })).toMatchObject({
    HostConfig: { NetworkMode: "host" },
    NetworkingConfig: { EndpointsConfig: {} },
  });
  expect(body({}, { networks: [overlay] })).toMatchObject({
    HostConfig: { NetworkMode: "mesh" },
    NetworkingConfig: {
      EndpointsConfig: {
        mesh: {
          NetworkID: "n1",
          IPAMConfig: { IPv4Address: "10.0.1.5", IPv6Address: "fd00::5" },
          Aliases: ["api", "web.2.task1"],
        },
      },
    },
  });
});

test("files are mounted read-only one by one", () => {
  const files = [{ hostPath: "/run/x/0", containerPath: "/run/secrets/key" }];
  expect(body({}, {}, files).HostConfig?.Mounts).toEqual([
    { Type: "bind", Source: "/run/x/0", Target: "/run/secrets/key", ReadOnly: true },
  ]);
});

test.each([
  ["busybox", "busybox:latest"],
  ["busybox:1.36", "busybox:1.36"],
  ["localhost:5000/a/b", "localhost:5000/a/b:latest"],
  ["a@sha256:00", "a@sha256:00"],
])("image %s is %s", (given, expected) => {
  expect(imageReference(given)).toBe(expected);
});
