import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { InFlight } from "#platform/in-flight.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { NodeSchema, ServiceSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { Watch, type WatchMessage, WatchRequestSchema } from "#wire/gen/swarmkit/watch_pb.js";
import { createManagerChannel } from "./manager-channel.ts";
import { createLocalState } from "./raft/local-state.ts";
import { watchPart } from "./watch-service.ts";

const self = { nodeId: "n1", role: "swarm-manager", clusterId: "c1" };

function open() {
  const state = createLocalState({ clock: realClock, random: realRandom });
  const registered = new Map<string, unknown>();
  watchPart(state).register?.({
    add: (service, handlers) => void registered.set(service.typeName, handlers),
  });
  const end = new AbortController();
  const channel = createManagerChannel(
    { handlersOf: (service) => registered.get(service.typeName) as never },
    () => self,
    {
      draining: new AbortController().signal,
      closed: end.signal,
      unanswered: new InFlight(),
    },
  );
  return { state, watch: channel.client(Watch), end };
}

async function take(stream: AsyncIterable<WatchMessage>, count: number): Promise<WatchMessage[]> {
  const messages: WatchMessage[] = [];
  for await (const message of stream) {
    messages.push(message);
    if (messages.length === count) break;
  }
  return messages;
}

test("what was selected arrives, with the version to go on from", async () => {
  const { state, watch } = open();
  const entries = [{ kind: "service", filters: [{ By: { case: "name", value: "WEB" } as const }] }];
  const stream = watch.watch(create(WatchRequestSchema, { entries, includeOldObject: true }));
  const messages = take(stream, 3);
  // The watch stands once its first message was taken.
  await new Promise((resolve) => setImmediate(resolve));
  await state.update("api", (tx) => {
    tx.create("node", create(NodeSchema, { id: "n1" }));
    tx.create(
      "service",
      create(ServiceSchema, { id: "s1", spec: { annotations: { name: "web" } } }),
    );
    tx.create(
      "service",
      create(ServiceSchema, { id: "s2", spec: { annotations: { name: "db" } } }),
    );
  });
  await state.update("api", (tx) => {
    const service = tx.get("service", "s1");
    if (service !== undefined) tx.update("service", { ...service, pendingDelete: true });
  });
  const [first, created, updated] = await messages;
  expect(first?.events).toEqual([]);
  expect(created?.events.map(({ object }) => object?.Object.case)).toEqual(["service"]);
  expect(created?.version?.index).toBe(1n);
  expect(updated?.events[0]?.oldObject?.Object.value).toMatchObject({ pendingDelete: false });
  const again = watch.watch(
    create(WatchRequestSchema, {
      entries,
      ...(created?.version && { resumeFrom: created.version }),
    }),
  );
  const [, resumed] = await take(again, 2);
  expect(resumed?.version?.index).toBe(2n);
  await state.stop();
});

test("unknown kinds are refused, and the end of the manager ends the watch", async () => {
  const { watch, end, state } = open();
  await expect(take(watch.watch({ entries: [{ kind: "nonsense" }] }), 1)).rejects.toMatchObject({
    code: "invalid-argument",
  });
  const endless = take(watch.watch({ entries: [{ kind: "task" }] }), 2);
  await new Promise((resolve) => setImmediate(resolve));
  end.abort();
  await expect(endless).rejects.toMatchObject({ code: "cancelled" });
  await state.stop();
});
