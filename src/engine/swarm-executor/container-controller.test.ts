import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { Semaphore } from "#platform/async.ts";
import { silentLog } from "#platform/log.ts";
import { TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeDescriptionSchema } from "#wire/gen/swarmkit/types_pb.js";
import { type ControllerPorts, createContainerController } from "./container-controller.ts";

const task = create(TaskSchema, {
  id: "t1",
  spec: { runtime: { case: "container", value: { image: "web:demo" } } },
});

/** A host with the task's container, made by an earlier engine; networks come when asked for. */
function hostWithCreatedContainer() {
  let hasNetworks = false;
  let started = false;
  const ports = {
    log: silentLog,
    node: () => undefined,
    starts: new Semaphore(1),
    files: { write: () => Promise.resolve() },
    networks: {
      ensure: async () => {
        hasNetworks = true;
      },
      activate: () => Promise.resolve(),
    },
    containers: {
      inspect: () =>
        Promise.resolve({
          Id: "c1",
          State: { Status: "created", Running: false },
          Config: { Labels: { "com.docker.swarm.task.id": "t1" } },
        }),
      start: async () => {
        if (!hasNetworks) throw new EngineError("not-found", "network ingress not found");
        started = true;
      },
    },
  };
  return { ports: ports as unknown as ControllerPorts, started: () => started };
}

test("a container that an earlier engine made is started when its networks are there again", async () => {
  const host = hostWithCreatedContainer();
  const controller = createContainerController(host.ports, task, () => undefined);
  await controller.start(new AbortController().signal);
  expect(host.started()).toBe(true);
});

test("a task that wants of the host what the engine's label does not allow is impossible here", () => {
  const { ports } = hostWithCreatedContainer();
  const value = { image: "web:demo", labels: { "skep.privileged": "true" } };
  const asking = create(TaskSchema, { id: "t2", spec: { runtime: { case: "container", value } } });
  const on = (allow: string) =>
    createContainerController(
      {
        ...ports,
        node: () => create(NodeDescriptionSchema, { engine: { labels: { "skep.allow": allow } } }),
      },
      asking,
      () => undefined,
    );
  expect(() => on("devices")).toThrow("this node does not allow services privileged");
  expect(() => createContainerController(ports, asking, () => undefined)).toThrow("skep.allow");
  on("devices,privileged");
});
