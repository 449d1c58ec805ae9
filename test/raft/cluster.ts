/**
 * Raft members in this process, each with its own disk, gRPC server and unix socket. Callers are not
 * vouched for by certificates here; a member names itself in the call's metadata instead.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, type DescService } from "@bufbuild/protobuf";
import { openRaftNode, type RaftNode, type RaftNodeOptions } from "#manager/raft/node.ts";
import { openChannel, type RpcChannel } from "#platform/grpc/client.ts";
import {
  createRpcServer,
  type RpcContext,
  type RpcHandlers,
  type RpcServer,
} from "#platform/grpc/server.ts";
import { createLog, silentLog } from "#platform/log.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { dataKey, keyRing } from "#platform/wal/key-ring.ts";
import { Health, HealthCheckResponse_ServingStatus } from "#wire/gen/swarmkit/health_pb.js";
import { type Service, ServiceSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { Raft, type StreamRaftMessageRequest } from "#wire/gen/swarmkit/raft_pb.js";

const CALLER = "test-node";

export interface TestMember {
  readonly name: string;
  readonly node: RaftNode;
  /** What stopped the member for good, if anything. */
  failure(): unknown;
  /** Ends it as a crash would: nothing is handed over, nothing more is written. */
  kill(): Promise<void>;
  close(): Promise<void>;
}

export class TestCluster {
  readonly dir: string;
  readonly #members = new Map<string, TestMember>();
  readonly keys = keyRing([dataKey(new Uint8Array(32).fill(7))]);
  /**
   * Sees what comes to a member in streams of raft messages; what it throws breaks the stream, and of
   * what it answers "lost" to nobody hears.
   */
  onStreamed: (
    to: string,
    request: StreamRaftMessageRequest,
    context: RpcContext,
  ) => "lost" | undefined = () => undefined;
  /** Services that members do not have, as if they were older. */
  readonly missing = new Set<DescService>();
  /** Addresses that cannot be reached, as if their cable were cut. */
  readonly #cut = new Set<string>();

  private constructor(dir: string) {
    this.dir = dir;
  }

  static async make(): Promise<TestCluster> {
    return new TestCluster(await mkdtemp(join(tmpdir(), "skep-raft-")));
  }

  /** Starts a member: the first one of a group, one that joins, or one with its old disk. */
  async start(
    name: string,
    options: Partial<RaftNodeOptions> & { readonly joins?: readonly string[] } = {},
  ): Promise<TestMember> {
    const { joins, ...rest } = options;
    let failure: unknown;
    const channels = new Map<string, RpcChannel>();
    const node = await openRaftNode({
      dir: join(this.dir, name),
      keys: this.keys,
      nodeId: name,
      addr: () => this.#addr(name),
      channelTo: (addr) => this.#channel(channels, name, addr),
      ...(joins === undefined ? {} : { join: () => joins.map((one) => this.#addr(one)) }),
      callerOf: (context) => context.metadata[CALLER],
      onFatal: (error) => {
        failure = error;
      },
      clock: realClock,
      random: realRandom,
      log: process.env["RAFT_LOG"] === undefined ? silentLog : createLog("info", 2, { name }),
      ...rest,
    });
    const server = await this.#serve(name, node);
    const close = async (graceful: boolean) => {
      this.#members.delete(name);
      await (graceful ? node.close() : node.kill());
      await server.close();
      for (const channel of channels.values()) channel.close();
    };
    const member: TestMember = {
      name,
      node,
      failure: () => failure,
      kill: () => close(false),
      close: () => close(true),
    };
    this.#members.set(name, member);
    await node.run();
    return member;
  }

  members(): readonly TestMember[] {
    return [...this.#members.values()];
  }

  /** Deletes a member's disk. */
  async forget(name: string): Promise<void> {
    await rm(join(this.dir, name), { recursive: true });
  }

  /** Cuts a member off, or plugs it in again. */
  cut(name: string, isCut: boolean): void {
    if (isCut) this.#cut.add(name);
    else this.#cut.delete(name);
  }

  /** Resolves to the member that leads and says so, among those that run. */
  async leader(timeoutMs = 10_000, not?: string): Promise<TestMember> {
    return await eventually(timeoutMs, "a leader", () =>
      [...this.#members.values()].find(
        (member) => member.node.state.isLeader() && member.name !== not,
      ),
    );
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#members.values()].map((member) => member.kill()));
    await rm(this.dir, { recursive: true });
  }

  async #serve(name: string, node: RaftNode): Promise<RpcServer> {
    const ensurePlugged = (context: RpcContext) => {
      const from = context.metadata[CALLER] ?? "";
      if (this.#cut.has(name) || this.#cut.has(from)) throw new Error("the cable is cut");
    };
    const streamed = (request: StreamRaftMessageRequest, context: RpcContext) =>
      this.onStreamed(name, request, context);
    const server = createRpcServer(ensurePlugged);
    node.register({
      add: (service, handlers) => {
        if (this.missing.has(service)) return;
        if ((service as DescService) !== Raft) return server.add(service, handlers);
        const raft = handlers as unknown as RpcHandlers<typeof Raft>;
        server.add(Raft, {
          ...raft,
          // A stream that is open when the cable is cut ends with the next message.
          streamRaftMessage: (requests, context) => {
            const checked = (async function* () {
              for await (const request of requests) {
                ensurePlugged(context);
                if (streamed(request, context) !== "lost") yield request;
              }
            })();
            return raft.streamRaftMessage(checked, context);
          },
        });
      },
    });
    server.add(Health, {
      check: () => ({ status: HealthCheckResponse_ServingStatus.SERVING }),
    });
    await server.listenUnix(this.#socket(name));
    return server;
  }

  #socket(name: string): string {
    return join(this.dir, `${name}.sock`);
  }

  /** An address in the form of the real ones; the number is of no meaning. */
  #addr(name: string): string {
    return `${name}:1`;
  }

  #channel(channels: Map<string, RpcChannel>, from: string, addr: string): RpcChannel {
    const open = channels.get(addr);
    if (open !== undefined) return open;
    const target = `unix://${this.#socket(addr.split(":")[0] ?? "")}`;
    const channel = openChannel({ target, metadata: { [CALLER]: from } });
    channels.set(addr, channel);
    return channel;
  }
}

export async function eventually<T>(
  timeoutMs: number,
  what: string,
  look: () => T | undefined | false,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const found = look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > deadline) throw new Error(`${what} did not come within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export function service(id: string): Service {
  return create(ServiceSchema, { id, spec: { annotations: { name: `name-${id}` } } });
}

/** Stores a service through the leader, whoever it is, until it is acknowledged. */
export async function write(cluster: TestCluster, id: string): Promise<void> {
  for (;;) {
    const leader = await cluster.leader();
    try {
      await leader.node.state.update("api", (tx) => {
        if (tx.get("service", id) === undefined) tx.create("service", service(id));
      });
      return;
    } catch (error) {
      if ((error as { code?: string }).code !== "unavailable") throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}
