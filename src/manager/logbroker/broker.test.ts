import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isLogNotice } from "#model/log-notice.ts";
import type { RpcContext } from "#platform/grpc/server.ts";
import { silentLog } from "#platform/log.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { ManualClock, turn } from "#platform/testing/manual-clock.ts";
import {
  ListenSubscriptionsRequestSchema,
  type LogSelectorSchema,
  type PublishLogsMessage,
  PublishLogsMessageSchema,
  type SubscribeLogsMessage,
  SubscribeLogsRequestSchema,
  type SubscriptionMessage,
} from "#wire/gen/swarmkit/logbroker_pb.js";
import { NodeSchema, TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeStatus_State, NodeStatusSchema, TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { createLocalState, type LocalState } from "../raft/local-state.ts";
import { createLogBroker, type LogBrokerServer } from "./broker.ts";

const NOW_MS = 1_700_000_000_000;

let state: LocalState;
let broker: LogBrokerServer;
let calls: AbortController;
let clock: ManualClock;

beforeEach(async () => {
  state = createLocalState({ clock: realClock, random: realRandom, nodeId: "m1" });
  clock = new ManualClock(NOW_MS);
  const ports = { clock, random: realRandom, log: silentLog, nodeId: "m1" };
  broker = createLogBroker({ state, ...ports });
  calls = new AbortController();
  state.onLeadership((signal) => broker.lead(signal));
  await turn();
});

afterEach(async () => {
  calls.abort();
  await state.stop();
  expect(state.failure()).toBeUndefined();
});

function context(nodeId: string, signal = calls.signal): RpcContext {
  const peer = { nodeId, role: "swarm-worker", clusterId: "c" };
  return { peer, peerAddress: "", signal, metadata: {}, path: "", local: false };
}

function listen(nodeId: string, signal = calls.signal): AsyncIterator<SubscriptionMessage> {
  const request = create(ListenSubscriptionsRequestSchema);
  const stream = broker.logBroker.listenSubscriptions(request, context(nodeId, signal));
  return stream[Symbol.asyncIterator]() as AsyncIterator<SubscriptionMessage>;
}

function subscribe(
  selector: MessageInitShape<typeof LogSelectorSchema>,
  follow = false,
  signal = calls.signal,
  tail = 0n,
): AsyncIterator<SubscribeLogsMessage> {
  const request = create(SubscribeLogsRequestSchema, { selector, options: { follow, tail } });
  const stream = broker.logs.subscribeLogs(request, context("m1", signal));
  return stream[Symbol.asyncIterator]() as AsyncIterator<SubscribeLogsMessage>;
}

/** As SwarmKit's agent does; ours has the end of the stream say what `close` says. */
async function publish(
  nodeId: string,
  id: string,
  lines: readonly string[],
  { from = nodeId, close = true } = {},
) {
  async function* messages(): AsyncGenerator<PublishLogsMessage> {
    for (const line of lines) {
      yield create(PublishLogsMessageSchema, {
        subscriptionId: id,
        messages: [{ context: { nodeId: from }, data: new TextEncoder().encode(line) }],
      });
    }
    if (close) yield create(PublishLogsMessageSchema, { subscriptionId: id, close: true });
  }
  await broker.logBroker.publishLogs(messages(), context(nodeId));
}

function task(id: string, nodeId: string, taskState = TaskState.RUNNING): Promise<void> {
  return state.update("scheduler", (tx) => {
    const old = tx.get("task", id);
    const next = create(TaskSchema, { id, serviceId: "svc", nodeId, status: { state: taskState } });
    if (old === undefined) tx.create("task", next);
    else tx.update("task", { ...next, meta: old.meta });
  });
}

const text = (message: SubscribeLogsMessage) =>
  message.messages.map(({ data }) => new TextDecoder().decode(data)).join("");

async function rest(stream: AsyncIterator<SubscribeLogsMessage>): Promise<string[]> {
  const lines: string[] = [];
  for (let next = await stream.next(); !next.done; next = await stream.next()) {
    lines.push(text(next.value));
  }
  return lines.sort();
}

test("lines of all nodes come back, and the stream ends when all have finished", async () => {
  await task("t1", "n1");
  await task("t2", "n2");
  const nodes = [listen("n1"), listen("n2")];
  const told = nodes.map((node) => node.next());
  const collected = rest(subscribe({ serviceIds: ["svc"] }));
  for (const [at, message] of (await Promise.all(told)).entries()) {
    const { id, selector } = message.value as SubscriptionMessage;
    expect(selector?.serviceIds).toEqual(["svc"]);
    await publish(`n${at + 1}`, id, [`a${at}`, `b${at}`], { close: at === 0 });
  }
  expect(await collected).toEqual(["a0", "a1", "b0", "b1"]);
  // Both nodes hear that it is over.
  const closing = await Promise.all(nodes.map((node) => node.next()));
  expect(closing.map(({ value }) => (value as SubscriptionMessage).close)).toEqual([true, true]);
});

test("what could not be had is said at the end", async () => {
  await task("t1", "n1");
  await task("t2", "");
  const stream = subscribe({ serviceIds: ["svc"], taskIds: ["t2"] });
  await expect(stream.next()).rejects.toThrow(
    "warning: incomplete log stream. some logs could not be retrieved for the following reasons: " +
      "node n1 is not available, task t2 has not been scheduled",
  );
});

test("a node lost in the middle is named, and what it sent is kept", async () => {
  await task("t1", "n1");
  const away = new AbortController();
  const node = listen("n1", away.signal);
  const told = node.next();
  const stream = subscribe({ taskIds: ["t1"] });
  const next = stream.next();
  const { id } = (await told).value as SubscriptionMessage;
  async function* half(): AsyncGenerator<PublishLogsMessage> {
    yield create(PublishLogsMessageSchema, {
      subscriptionId: id,
      messages: [{ context: { nodeId: "n1" }, data: new TextEncoder().encode("x") }],
    });
    throw new Error("connection lost");
  }
  await expect(broker.logBroker.publishLogs(half(), context("n1"))).rejects.toThrow();
  expect(text((await next).value as SubscribeLogsMessage)).toBe("x");
  await expect(stream.next()).rejects.toThrow("connection lost");
  away.abort();
});

test("a node that is found to be down is waited for no longer, though its connection stands", async () => {
  const node = create(NodeSchema, { id: "n1", status: { state: NodeStatus_State.READY } });
  await state.update("api", (tx) => tx.create("node", node));
  await task("t1", "n1");
  const stands = listen("n1");
  const told = stands.next();
  const stream = subscribe({ taskIds: ["t1"] });
  const next = stream.next();
  await told;
  const dropped = stands.next();
  await state.update("dispatcher", (tx) => {
    const old = tx.get("node", "n1");
    if (old === undefined) throw new Error("no node");
    const status = create(NodeStatusSchema, { state: NodeStatus_State.DOWN });
    tx.update("node", { ...old, status });
  });
  await expect(dropped).rejects.toThrow("node n1 is down");
  await expect(next).rejects.toThrow("node n1 disconnected unexpectedly");
});

test("following takes in tasks that are placed later, and stops when the client goes", async () => {
  const node = listen("n2");
  const told = node.next();
  const client = new AbortController();
  const stream = subscribe({ serviceIds: ["svc"] }, true, client.signal);
  const next = stream.next();
  await task("t1", "");
  await task("t1", "n2", TaskState.ASSIGNED);
  const { id } = (await told).value as SubscriptionMessage;
  await publish("n2", id, ["hello"]);
  expect(text((await next).value as SubscribeLogsMessage)).toBe("hello");
  const closing = node.next();
  const end = stream.next();
  client.abort(new Error("gone"));
  await expect(end).rejects.toThrow("gone");
  expect(((await closing).value as SubscriptionMessage).close).toBe(true);
});

/** Publishes lines of task t1 with these times and texts, and stays open. */
function send(id: string, lines: readonly (readonly [seconds: bigint, line: string])[]): void {
  async function* messages(): AsyncGenerator<PublishLogsMessage> {
    yield create(PublishLogsMessageSchema, {
      subscriptionId: id,
      messages: lines.map(([seconds, line]) => ({
        context: { nodeId: "n1", taskId: "t1" },
        timestamp: { seconds },
        data: new TextEncoder().encode(line),
      })),
    });
    await new Promise((resolve) => calls.signal.addEventListener("abort", resolve));
  }
  broker.logBroker.publishLogs(messages(), context("n1")).catch(() => undefined);
}

test.each([
  ["all", 0n],
  ["the end", -1n],
])(
  "a node that is lost while %s is followed is named, and goes on where it was",
  async (_what, tail) => {
    await state.update("api", (tx) =>
      tx.create("node", create(NodeSchema, { id: "n1", description: { hostname: "h1" } })),
    );
    await task("t1", "n1");
    const away = new AbortController();
    const node = listen("n1", away.signal);
    const told = node.next();
    const stream = subscribe({ serviceIds: ["svc"] }, true, calls.signal, tail);
    const first = stream.next();
    const { id } = (await told).value as SubscriptionMessage;
    send(id, [
      [5n, "a5"],
      [6n, "a6"],
    ]);
    expect(text((await first).value as SubscribeLogsMessage)).toBe("a5a6");
    const notice = stream.next();
    const ended = node.next();
    away.abort(new Error("gone"));
    await expect(ended).rejects.toThrow("gone");
    await clock.advance(5_000);
    expect((await notice).value).toMatchObject({
      messages: [{ context: { serviceId: "svc", nodeId: "n1", taskId: "t1" } }],
    });
    const { messages } = (await notice).value as SubscribeLogsMessage;
    expect(messages.every(isLogNotice)).toBe(true);
    expect(text((await notice).value as SubscribeLogsMessage)).toBe(
      "warning: node h1 (n1) does not answer: lines of its tasks are missing until it is back\n",
    );
    const again = (await listen("n1").next()).value as SubscriptionMessage;
    expect(again.options).toMatchObject({ tail: 0n, since: { seconds: 6n } });
    const next = stream.next();
    send(again.id, [
      [5n, "a5"],
      [6n, "a6"],
      [7n, "a7"],
    ]);
    expect(text((await next).value as SubscribeLogsMessage)).toBe("a7");
  },
);

test("a node that is soon back is not spoken of; one that never answered is asked for all", async () => {
  await task("t1", "n1");
  const stream = subscribe({ serviceIds: ["svc"] }, true, calls.signal, -3n);
  const first = stream.next();
  await turn();
  const told = (await listen("n1").next()).value as SubscriptionMessage;
  expect(told.options).toMatchObject({ tail: -3n });
  await clock.advance(60_000);
  send(told.id, [[5n, "a5"]]);
  expect(text((await first).value as SubscribeLogsMessage)).toBe("a5");
});

test("a node is spoken of once, however many of its tasks change meanwhile", async () => {
  for (const id of ["t1", "t2"]) await task(id, "n1");
  const stream = subscribe({ serviceIds: ["svc"] }, true);
  const first = stream.next();
  await clock.advance(4_000);
  for (const id of ["t1", "t2"]) await task(id, "n1", TaskState.SHUTDOWN);
  await clock.advance(1_000);
  const notices = [text((await first).value as SubscribeLogsMessage)];
  const more = stream.next().then(({ value }) => notices.push(text(value as SubscribeLogsMessage)));
  await clock.advance(60_000);
  expect(notices).toEqual([expect.stringContaining("node n1 does not answer")]);
  const { id } = (await listen("n1").next()).value as SubscriptionMessage;
  send(id, [[5n, "a5"]]);
  await more;
  expect(notices[1]).toBe("a5");
});

test("a node that fails to deliver, and is there, is asked again", async () => {
  await task("t1", "n1");
  const node = listen("n1");
  const told = node.next();
  const stream = subscribe({ serviceIds: ["svc"] }, true);
  const next = stream.next();
  const { id } = (await told).value as SubscriptionMessage;
  await expect(publish("n1", id, ["a"], { from: "n2" })).rejects.toThrow("invalid NodeID");
  const again = node.next();
  await clock.advance(5_000);
  expect((await again).value).toMatchObject({ id });
  send(id, [[5n, "a5"]]);
  expect(text((await next).value as SubscribeLogsMessage)).toBe("a5");
});

test("a client that does not read holds its nodes back", async () => {
  await task("t1", "n1");
  const node = listen("n1");
  const told = node.next();
  const stream = subscribe({ taskIds: ["t1"] });
  const first = stream.next();
  const { id } = (await told).value as SubscriptionMessage;
  let sent = 0;
  async function* many(): AsyncGenerator<PublishLogsMessage> {
    for (; sent < 500; sent += 1) {
      yield create(PublishLogsMessageSchema, {
        subscriptionId: id,
        messages: [{ context: { nodeId: "n1" }, data: new Uint8Array(1) }],
      });
    }
  }
  const publishing = broker.logBroker.publishLogs(many(), context("n1"));
  await first;
  await turn();
  expect(sent).toBeLessThan(100);
  let got = 1;
  while (!(await stream.next()).done) got += 1;
  await publishing;
  expect(got).toBe(500);
});

test("nodes cannot speak for others or into what they were not asked", async () => {
  await task("t1", "n1");
  const told = listen("n1").next();
  const stream = subscribe({ taskIds: ["t1"] });
  const next = stream.next();
  const { id } = (await told).value as SubscriptionMessage;
  await expect(publish("n2", id, ["x"])).rejects.toMatchObject({ code: "not-found" });
  await expect(publish("n1", id, ["x"], { from: "n2" })).rejects.toThrow(
    "invalid NodeID: expected=n1;received=n2",
  );
  await expect(next).rejects.toThrow("incomplete log stream");
  await expect(subscribe({}).next()).rejects.toThrow("log selector must not be empty");
});
