import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import type { PeerIdentity, RpcContext } from "#platform/grpc/server.ts";
import { UnsentError } from "#platform/grpc/status.ts";
import { InFlight } from "#platform/in-flight.ts";
import { ManualClock, turn } from "#platform/testing/manual-clock.ts";
import {
  Dispatcher,
  HeartbeatResponseSchema,
  SessionMessageSchema,
} from "#wire/gen/swarmkit/dispatcher_pb.js";
import { HealthCheckResponse_ServingStatus } from "#wire/gen/swarmkit/health_pb.js";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { createManagerChannel } from "./manager-channel.ts";
import { createLeaderProxy } from "./proxy.ts";
import { NotMade } from "./state.ts";

/** Managers that call each other in memory, as over TLS: the receiver sees the sender as the peer. */
class Manager {
  readonly identity: PeerIdentity;
  leads = false;
  leader: { nodeId: string; addr: string } | undefined;
  reachable = true;
  seen: RpcContext[] = [];
  /** What the next local call fails with. */
  failure: Error | undefined;
  /** Whether local calls are answered at all; a host without power answers nothing. */
  silent = false;
  /** Until then calls are not answered, and it says that it is there. */
  busy: Promise<void> | undefined;
  hearsMajority = false;
  /** Whom it has called, or wanted to. */
  called: string[] = [];
  readonly #network: Map<string, Manager>;
  readonly #handlers;

  constructor(name: string, network: Map<string, Manager>) {
    this.identity = { nodeId: name, role: "swarm-manager", clusterId: "c1" };
    this.#network = network;
    network.set(name, this);
    const proxy = createLeaderProxy({
      state: {
        isLeader: () => this.leads,
        leader: () => this.leader,
        hearsMajority: () => this.hearsMajority,
      },
      cluster: { clusterId: "c1", removed: () => false, role: () => NodeRole.MANAGER },
      self: () => this.identity,
      selfAddress: () => name,
      channelTo: (address) => this.#channelTo(address),
      clock,
    });
    const answer = (context: RpcContext) => {
      this.seen.push(context);
      if (this.failure !== undefined) throw this.failure;
    };
    this.#handlers = proxy.wrap(Dispatcher, {
      heartbeat: async (_request, context) => {
        answer(context);
        await this.busy;
        if (this.silent) await aborted(context.signal);
        return create(HeartbeatResponseSchema);
      },
      session: async function* (_request, context) {
        answer(context);
        yield create(SessionMessageSchema, { sessionId: name });
      },
      updateTaskStatus: () => ({}),
      updateVolumeStatus: () => ({}),
      tasks: async function* () {},
      assignments: async function* () {},
    });
  }

  /** A channel whose calls arrive here from `peer`. */
  channel(peer: PeerIdentity | undefined, peerAddress: string): RpcChannel {
    const handlers = this.#handlers;
    const arriving: Record<string, unknown> = Object.fromEntries(
      Object.entries(handlers).map(([name, handler]) => [
        name,
        (request: never, context: RpcContext) =>
          (handler as (request: never, context: RpcContext) => unknown)(request, {
            ...context,
            local: false,
            peer,
            peerAddress,
          }),
      ]),
    );
    arriving["check"] = async (_request: never, { signal }: RpcContext) => {
      if (this.silent) await aborted(signal);
      return { status: HealthCheckResponse_ServingStatus.SERVING };
    };
    return this.#serve(arriving);
  }

  /** The engine's own, of the host that the manager is on. */
  get local() {
    return this.#serve(this.#handlers).client(Dispatcher);
  }

  #serve(handlers: object): RpcChannel {
    return createManagerChannel({ handlersOf: () => handlers as never }, () => this.identity, {
      draining: new AbortController().signal,
      closed: new AbortController().signal,
      unanswered: new InFlight(),
    });
  }

  #channelTo(address: string): RpcChannel {
    this.called.push(address);
    const other = this.#network.get(address);
    if (other === undefined || !other.reachable) {
      return {
        ...this.channel(undefined, ""),
        ready: () => Promise.reject(new EngineError("unavailable", "no connection")),
      };
    }
    return other.channel(this.identity, this.identity.nodeId);
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
  });
}

const worker: PeerIdentity = { nodeId: "w1", role: "swarm-worker", clusterId: "c1" };
let clock: ManualClock;
let network: Map<string, Manager>;
let first: Manager;
let second: Manager;

beforeEach(() => {
  clock = new ManualClock();
  network = new Map();
  first = new Manager("m1", network);
  second = new Manager("m2", network);
  lead(first);
});

afterEach(() => network.clear());

function lead(leader: Manager | undefined): void {
  for (const manager of network.values()) {
    manager.leads = manager === leader;
    const nodeId = leader?.identity.nodeId;
    manager.leader = nodeId === undefined ? undefined : { nodeId, addr: nodeId };
  }
}

function callAt(manager: Manager) {
  return manager.channel(worker, "192.0.2.1:1234").client(Dispatcher);
}

const seconds = (count: number) => clock.advance(count * 1_000);

/** What becomes of the call within so many seconds. */
async function within<T>(count: number, call: Promise<T>): Promise<T> {
  call.catch(() => undefined);
  await seconds(count);
  const late = new Error(`nothing within ${count} s`);
  return Promise.race([call, turn().then(() => Promise.reject(late))]);
}

test("a follower forwards, and the leader sees who asked and from where", async () => {
  await callAt(second).heartbeat({});
  for await (const message of callAt(second).session({})) {
    expect(message.sessionId).toBe("m1");
  }
  expect(second.seen).toEqual([]);
  for (const context of first.seen) {
    expect(context).toMatchObject({ peer: worker, peerAddress: "192.0.2.1:1234" });
  }
  expect(first.seen.length).toBe(2);
});

test("a call is sent on once, never in circles", async () => {
  first.leads = false;
  first.leader = { nodeId: "m2", addr: "m2" };
  second.leader = { nodeId: "m1", addr: "m1" };
  await expect(within(6, callAt(second).heartbeat({}))).rejects.toMatchObject({
    code: "unavailable",
    message: expect.stringMatching(/between two leaders: .* m1 does not lead.* try again/),
  });
  expect([...first.seen, ...second.seen]).toEqual([]);
});

test("what the old leader refused to forward finds the new one", async () => {
  // m2 still believes in m1, which knows that it does not lead any more.
  first.leads = false;
  const answered = callAt(second).heartbeat({});
  const streamed = (async () => {
    for await (const message of callAt(second).session({})) return message.sessionId;
    return "";
  })();
  await seconds(0.2);
  lead(second);
  await within(1, answered);
  expect(await within(1, streamed)).toBe("m2");
});

/** As a manager is that has won, and has not yet applied what was decided before. */
function elect(winner: Manager): void {
  lead(winner);
  winner.leads = false;
}

test("who was elected and does not lead yet is waited for, by others and by itself", async () => {
  elect(first);
  const answered = [second.local.heartbeat({}), first.local.heartbeat({})];
  await seconds(8);
  expect(first.called).toEqual([]);
  lead(first);
  await within(1, Promise.all(answered));
  expect(first.seen.length).toBe(2);
});

test("a stream that was refused too early is opened where it was refused", async () => {
  first.leads = false;
  first.leader = undefined;
  const messages = second.local.session({})[Symbol.asyncIterator]();
  const opened = messages.next();
  await seconds(1);
  lead(first);
  expect((await within(1, opened)).value?.sessionId).toBe("m1");
});

test("an election that takes long is waited for as long as a majority is heard", async () => {
  lead(undefined);
  second.hearsMajority = true;
  const answered = second.local.heartbeat({});
  await seconds(8);
  lead(first);
  await within(1, answered);
  lead(undefined);
  await expect(within(13, second.local.heartbeat({}))).rejects.toMatchObject({
    code: "unavailable",
    message: expect.stringContaining("try again"),
  });
});

test("a leader that cannot be reached in time is named", async () => {
  const named = {
    code: "unavailable",
    message: expect.stringContaining("does not reach the leader of the swarm at m1"),
  };
  first.failure = new UnsentError("unavailable", "the connection was closed");
  await expect(within(6, callAt(second).heartbeat({}))).rejects.toMatchObject(named);
  first.reachable = false;
  await expect(within(6, callAt(second).heartbeat({}))).rejects.toMatchObject(named);
});

test("an election is waited for; a lost majority is not waited for twice", async () => {
  lead(undefined);
  const answered = callAt(second).heartbeat({});
  await seconds(0.2);
  lead(first);
  await within(1, answered);
  lead(undefined);
  await expect(within(6, callAt(second).heartbeat({}))).rejects.toMatchObject({
    code: "unknown",
    message:
      "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.",
  });
  await expect(callAt(second).heartbeat({})).rejects.toThrow("does not have a leader");
});

test("what may have been done is not done twice", async () => {
  first.failure = new EngineError("unavailable", "the connection broke");
  await expect(callAt(second).heartbeat({})).rejects.toThrow("the connection broke");
  expect(first.seen.length).toBe(1);
});

test("a leader that says nothing any more is not waited for once another leads", async () => {
  first.silent = true;
  const answered = callAt(second).heartbeat({});
  answered.catch(() => undefined);
  await seconds(0.2);
  lead(second);
  await expect(within(1, answered)).rejects.toThrow("whether it was carried out is not known");
  expect(second.seen).toEqual([]);
});

test("a former leader that is there, and slow, has the time to answer", async () => {
  let finish: () => void = () => undefined;
  first.busy = new Promise((resolve) => {
    finish = resolve;
  });
  const answered = callAt(second).heartbeat({});
  await seconds(1);
  lead(second);
  await seconds(2);
  finish();
  await within(1, answered);
  expect(second.seen).toEqual([]);
});

test("a leader that says nothing any more is not waited for long where no other leads", async () => {
  first.silent = true;
  const answered = second.local.heartbeat({});
  answered.catch(() => undefined);
  await seconds(1);
  lead(undefined);
  await expect(within(6, answered)).rejects.toMatchObject({
    code: "unavailable",
    message: expect.stringContaining("there is no other yet"),
  });
});

test("a leader that cannot be reached is no leader", async () => {
  first.reachable = false;
  const answered = callAt(second).heartbeat({});
  await seconds(0.2);
  lead(second);
  await within(1, answered);
  expect(second.seen.length).toBe(1);
});

test("what the leader has surely not done is done by the next one", async () => {
  first.failure = new NotMade("the leader hands over");
  const sentOn = callAt(second).heartbeat({});
  const own = callAt(first).heartbeat({});
  await seconds(0.2);
  lead(second);
  await within(1, Promise.all([sentOn, own]));
  expect(first.seen.length).toBeGreaterThan(1);
  expect(second.seen.length).toBe(2);
});

test("a manager that was demoted, and does not know it yet, sends its callers elsewhere", async () => {
  const refusal = (nodeId: string) =>
    new EngineError(
      "permission-denied",
      `Permission denied: node ${nodeId} is no longer a manager`,
    );
  first.failure = refusal("m2");
  const stopped = { code: "unavailable", message: expect.stringContaining("another manager") };
  await expect(callAt(second).heartbeat({})).rejects.toMatchObject(stopped);
  const messages = callAt(second).session({})[Symbol.asyncIterator]();
  await expect(messages.next()).rejects.toMatchObject(stopped);
  // What others are is told as it is.
  first.failure = refusal("m3");
  await expect(callAt(second).heartbeat({})).rejects.toMatchObject({ code: "permission-denied" });
});
