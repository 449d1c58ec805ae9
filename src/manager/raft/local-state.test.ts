import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { type Service, ServiceSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { createLocalState } from "./local-state.ts";

function service(id: string, name: string): Service {
  return create(ServiceSchema, { id, spec: { annotations: { name } } });
}

function local() {
  return createLocalState({ clock: realClock, random: realRandom });
}

test("an update is seen by views and by watchers, with its index as version", async () => {
  const state = local();
  const { view, batches } = state.viewAndWatch({ signal: AbortSignal.timeout(5000) });
  expect(view.count("service")).toBe(0);
  await state.update("api", (tx) => tx.create("service", service("s1", "web")));
  const stored = state.view().byName("service", "WEB");
  expect(stored?.meta?.version?.index).toBe(1n);
  expect(stored?.meta?.createdAt).toBeDefined();
  for await (const batch of batches) {
    expect(batch).toEqual({
      index: 1,
      changes: [{ kind: "service", action: "create", object: stored }],
    });
    break;
  }
  await state.stop();
});

test("a failed write leaves nothing behind", async () => {
  const state = local();
  await state.update("api", (tx) => tx.create("service", service("s1", "web")));
  await expect(
    state.update("api", (tx) => {
      tx.create("service", service("s2", "other"));
      tx.create("service", service("s3", "Web"));
    }),
  ).rejects.toMatchObject({ code: "already-exists" });
  expect(state.view().count("service")).toBe(1);
  expect(state.view().index).toBe(1);
  await state.stop();
});

test("leadership functions run per reign, and never twice at once", async () => {
  const state = local();
  const seen: string[] = [];
  state.onLeadership(async (signal) => {
    seen.push("begin");
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    seen.push("end");
  });
  await Promise.resolve();
  state.setLeader(false);
  await expect(state.update("api", () => undefined)).rejects.toMatchObject({ code: "unavailable" });
  state.setLeader(true);
  await new Promise((resolve) => setImmediate(resolve));
  await state.stop();
  expect(seen).toEqual(["begin", "end", "begin", "end"]);
});

test("stopping ends the watches", async () => {
  const state = local();
  const batches = state.watch({ signal: new AbortController().signal });
  const end = batches[Symbol.asyncIterator]().next();
  await state.stop();
  await expect(end).rejects.toMatchObject({ code: "unavailable" });
});
