/** A manager for agents under test: real dispatcher, log broker and gRPC on a unix socket. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { Connector } from "#agent/agent.ts";
import { EngineError } from "#base/error.ts";
import { createDispatcher } from "#manager/dispatcher/dispatcher.ts";
import { createLogBroker } from "#manager/logbroker/broker.ts";
import { createLocalState, type LocalState } from "#manager/raft/local-state.ts";
import { openChannel } from "#platform/grpc/client.ts";
import { createRpcServer, type RpcContext, type RpcHandlers } from "#platform/grpc/server.ts";
import { silentLog } from "#platform/log.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { Dispatcher } from "#wire/gen/swarmkit/dispatcher_pb.js";
import { LogBroker, Logs } from "#wire/gen/swarmkit/logbroker_pb.js";
import { ClusterSchema, NodeSchema, type Task, TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";

export interface TestManager {
  readonly state: LocalState;
  readonly socket: string;
  assign(...tasks: MessageInitShape<typeof TaskSchema>[]): Promise<void>;
  change(id: string, change: Partial<Task>): Promise<void>;
  remove(...ids: string[]): Promise<void>;
  status(id: string): Task["status"];
  /** From now on refuses every call of this node, and ends its session. */
  dismiss(nodeId: string): void;
  /** Resolves when the condition holds; looks again after every change of the store. */
  until(what: string, condition: () => boolean): Promise<void>;
  close(): Promise<void>;
}

const UNTIL_MS = 20_000;

/** Identity by metadata: over a unix socket there is no certificate. */
function identified<S>(
  handlers: RpcHandlers<S>,
  dismissed: ReadonlySet<string> = new Set(),
): RpcHandlers<S> {
  const wrapped: Record<string, unknown> = {};
  for (const [name, handler] of Object.entries(handlers as Record<string, Handler>)) {
    wrapped[name] = (request: unknown, context: RpcContext) => {
      const nodeId = context.metadata["test-node"] ?? "";
      if (dismissed.has(nodeId)) {
        throw new EngineError("permission-denied", `${nodeId} was removed`);
      }
      const peer = { nodeId, role: "swarm-worker", clusterId: "c" };
      return handler(request, { ...context, peer });
    };
  }
  return wrapped as RpcHandlers<S>;
}

type Handler = (request: unknown, context: RpcContext) => unknown;

export async function startManager(
  socket: string,
  heartbeatMs = 1_000,
  state = createLocalState({ clock: realClock, random: realRandom, nodeId: "m1" }),
): Promise<TestManager> {
  const ports = { state, clock: realClock, random: realRandom, log: silentLog, nodeId: "m1" };
  const dispatcher = createDispatcher(ports);
  const broker = createLogBroker(ports);
  if (state.view().count("cluster") === 0) {
    await state.update("api", (tx) => {
      const heartbeatPeriod = durationFromMs(heartbeatMs);
      const spec = { annotations: { name: "default" }, dispatcher: { heartbeatPeriod } };
      tx.create("cluster", create(ClusterSchema, { id: "c", spec }));
      for (const id of ["n1", "n2"]) {
        tx.create("node", create(NodeSchema, { id, spec: { annotations: { name: id } } }));
      }
    });
  }
  state.onLeadership((signal) => dispatcher.lead(signal));
  state.onLeadership((signal) => broker.lead(signal));
  const server = createRpcServer(() => undefined);
  const dismissed = new Set<string>();
  server.add(Dispatcher, identified<typeof Dispatcher>(dispatcher.handlers, dismissed));
  server.add(LogBroker, identified<typeof LogBroker>(broker.logBroker));
  server.add(Logs, identified<typeof Logs>(broker.logs));
  await server.listenUnix(socket);
  return {
    state,
    socket,
    assign: (...tasks) =>
      state.update("scheduler", (tx) => {
        for (const task of tasks) {
          tx.create(
            "task",
            create(TaskSchema, {
              nodeId: "n1",
              serviceId: "svc",
              desiredState: TaskState.RUNNING,
              status: { state: TaskState.ASSIGNED },
              spec: { runtime: { case: "container", value: { image: "x" } } },
              ...task,
            } as MessageInitShape<typeof TaskSchema>),
          );
        }
      }),
    change: (id, change) =>
      state.update("orchestrator", (tx) => {
        const task = tx.get("task", id);
        if (task !== undefined) tx.update("task", { ...task, ...change });
      }),
    remove: (...ids) =>
      state.update("reaper", (tx) => {
        for (const id of ids) tx.delete("task", id);
      }),
    dismiss: (nodeId) => void dismissed.add(nodeId),
    status: (id) => state.view().get("task", id)?.status,
    until: (what, condition) => until(state, what, condition),
    close: async () => {
      await state.stop();
      await server.close();
    },
  };
}

async function until(state: LocalState, what: string, condition: () => boolean): Promise<void> {
  const signal = AbortSignal.timeout(UNTIL_MS);
  const { batches } = state.viewAndWatch({ signal });
  if (condition()) return;
  const changes = batches[Symbol.asyncIterator]();
  while (!(await changes.next()).done) if (condition()) return;
  throw new Error(`not so after ${UNTIL_MS} ms: ${what}`);
}

export function connectorTo(
  socket: string,
  nodeId: string,
  isRemoved: Connector["isRemoved"] = async () => false,
): Connector {
  return {
    pick: async () => ({
      nodeId: "m1",
      addr: socket,
      channel: openChannel({ target: `unix://${socket}`, metadata: { "test-node": nodeId } }),
    }),
    observe: () => undefined,
    isRemoved,
  };
}
