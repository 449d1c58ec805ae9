/**
 * The Engine API over a real socket, in front of a real Control service over an in-memory store:
 * what a docker client sees of a swarm, less the tasks, which nobody orchestrates here.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { EngineError } from "#base/error.ts";
import { createEventBus } from "#engine/events/event-bus.ts";
import { deployHandlers } from "#manager/control/deploy.ts";
import { joinTokenHandlers } from "#manager/control/join-tokens.ts";
import { controlHandlers } from "#manager/control/service.ts";
import { aCluster, type Fixture, fixture } from "#manager/control/testing/fixture.ts";
import { watchPart } from "#manager/watch-service.ts";
import { openChannel } from "#platform/grpc/client.ts";
import { createRpcServer } from "#platform/grpc/server.ts";
import { silentLog } from "#platform/log.ts";
import { Deploy } from "#wire/gen/skep/deploy_pb.js";
import { JoinTokens } from "#wire/gen/skep/identity_pb.js";
import { Control } from "#wire/gen/swarmkit/control_pb.js";
import {
  Logs,
  type SubscribeLogsMessageSchema,
  type SubscribeLogsRequest,
} from "#wire/gen/swarmkit/logbroker_pb.js";
import { NetworkSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { Watch } from "#wire/gen/swarmkit/watch_pb.js";
import type { ClusterPort } from "../cluster-port.ts";
import { eventRoutes } from "../events.ts";
import { nodeRoutes } from "../nodes.ts";
import { configRoutes, secretRoutes } from "../payloads.ts";
import type { ApiResponse } from "../route.ts";
import { createApiServer } from "../server.ts";
import { serviceDeployRoutes } from "../service-deploy.ts";
import { serviceRoutes } from "../services.ts";
import { stackRoutes } from "../stacks.ts";
import { readClusterSummary, swarmRoutes } from "../swarm.ts";
import { swarmNetworks } from "../swarm-networks.ts";
import { taskRoutes } from "../tasks.ts";

export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly bytes: Buffer;
  /** The body as JSON; undefined when there is none. */
  readonly json: unknown;
  /** The `message` of an error. */
  readonly message: string;
}

type LogBatch = MessageInitShape<typeof SubscribeLogsMessageSchema>;

export interface Harness {
  readonly context: Fixture;
  readonly socketPath: string;
  /** What this node's own part in the swarm answers; tests change it. */
  readonly port: { -readonly [K in keyof ClusterPort]: ClusterPort[K] };
  /** What `subscribeLogs` was asked last, and what it answers. */
  readonly logs: {
    asked: SubscribeLogsRequest | undefined;
    batches: LogBatch[];
    error: string;
    /** What the next subscription after the first error answers, without one. */
    resumed: LogBatch[] | undefined;
  };
  call(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<Answer>;
  close(): Promise<void>;
}

export const NODE_ID = "node1";

export async function swarmHarness(): Promise<Harness> {
  const context = fixture();
  await aCluster(context);
  await context.state.update("leader", (tx) => {
    for (const [id, name] of [
      ["net-host", "host"],
      ["net-over", "over"],
    ] as const) {
      const labels = name === "host" ? { "com.docker.swarm.predefined": "true" } : undefined;
      const annotations = labels === undefined ? { name } : { name, labels };
      tx.create("network", create(NetworkSchema, { id, spec: { annotations } }));
    }
  });
  const folder = await mkdtemp(join(tmpdir(), "skep-swarm-api-"));
  const rpc = createRpcServer(() => undefined);
  const logs: Harness["logs"] = { asked: undefined, batches: [], error: "", resumed: undefined };
  rpc.add(Control, controlHandlers(context));
  rpc.add(Deploy, deployHandlers(context));
  rpc.add(JoinTokens, joinTokenHandlers(context));
  watchPart(context.state).register?.(rpc);
  rpc.add(Logs, {
    subscribeLogs: async function* (request) {
      logs.asked = request;
      yield* logs.batches;
      const { error } = logs;
      if (logs.resumed !== undefined) {
        logs.batches = logs.resumed;
        logs.error = "";
      }
      if (error !== "") throw new EngineError("unavailable", error);
    },
  });
  await rpc.listenUnix(join(folder, "rpc.sock"));
  const channel = openChannel({ target: `unix://${join(folder, "rpc.sock")}` });
  const port = portOver(channel);
  const host = {
    random: context.random,
    networks: {
      nameOf: async (input: string) => (["bridge", "mine"].includes(input) ? input : undefined),
    },
    resolveImage: async (image: string) => {
      if (image.startsWith("gone")) throw new EngineError("not-found", "no such image");
      return {
        digest: `sha256:${"a".repeat(64)}`,
        platforms: [{ os: "linux", architecture: "arm64" }],
      };
    },
  };
  const events = createEventBus(context.clock);
  const server = createApiServer({
    log: silentLog,
    routes: [
      { method: "GET", path: "/_ping", handler: (_, response) => response.text(200, "OK") },
      { method: "HEAD", path: "/_ping", handler: (_, response) => response.empty(200) },
      { method: "GET", path: "/info", handler: (_, response) => showInfo(port, response) },
      {
        method: "GET",
        path: "/networks",
        handler: async (_, response) =>
          response.json(200, (await swarmNetworks(port).list()) ?? []),
      },
      {
        method: "GET",
        path: "/networks/{id}",
        handler: async (request, response) => {
          const found = await swarmNetworks(port).inspect(request.params["id"] ?? "", false);
          if (found === undefined) throw new EngineError("not-found", "network not found");
          response.json(200, found);
        },
      },
      ...eventRoutes(events, port),
      ...swarmRoutes(port),
      ...nodeRoutes(port),
      ...serviceRoutes(port, host),
      ...serviceDeployRoutes(port),
      ...stackRoutes(port, host),
      ...taskRoutes(port),
      ...secretRoutes(port),
      ...configRoutes(port),
    ],
  });
  const socketPath = join(folder, "api.sock");
  await server.listenUnix(socketPath);
  return {
    context,
    socketPath,
    port,
    logs,
    call: (method, path, body, headers) => call(socketPath, method, path, body, headers),
    close: async () => {
      await server.close(50);
      channel.close();
      await rpc.close();
      await context.state.stop();
      await rm(folder, { recursive: true });
    },
  };
}

/** As much of `/info` as docker's command line asks for before it speaks of the swarm. */
async function showInfo(port: ClusterPort, response: ApiResponse): Promise<void> {
  const { state, nodeId, controlAvailable } = port.info();
  const summary = await readClusterSummary(port);
  const Swarm = {
    NodeID: nodeId,
    LocalNodeState: state,
    ControlAvailable: controlAvailable,
    Cluster: summary?.cluster,
  };
  response.json(200, { Swarm });
}

function portOver(channel: ReturnType<typeof openChannel>): Harness["port"] {
  const unused = () => {
    throw new EngineError("internal", "not part of this test");
  };
  return {
    info: () => ({
      state: "active",
      nodeId: NODE_ID,
      nodeAddr: "192.0.2.1",
      controlAvailable: true,
      error: "",
      remoteManagers: [],
    }),
    localNodeId: () => NODE_ID,
    init: async () => NODE_ID,
    join: async () => undefined,
    leave: async () => undefined,
    backup: unused,
    restore: unused,
    reconnect: unused,
    unlock: async () => undefined,
    unlockKey: async () => "",
    control: () => channel.client(Control),
    deploy: () => channel.client(Deploy),
    joinTokens: () => channel.client(JoinTokens),
    logs: () => channel.client(Logs),
    watch: () => channel.client(Watch),
    resources: unused,
    onChange: () => () => undefined,
  };
}

async function call(
  socketPath: string,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const type = body === undefined ? {} : { "content-type": "application/json" };
  const request = httpRequest({ socketPath, method, path, headers: { ...type, ...headers } });
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request.once("error", reject);
    request.once("response", resolve);
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const bytes = Buffer.concat(chunks);
  const contentType = response.headers["content-type"] ?? "";
  const json: unknown =
    contentType.startsWith("application/json") && bytes.length > 0
      ? JSON.parse(bytes.toString())
      : undefined;
  const message = (json as { message?: string } | undefined)?.message ?? "";
  return { status: response.statusCode ?? 0, type: contentType, bytes, json, message };
}
