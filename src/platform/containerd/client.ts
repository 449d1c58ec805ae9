/**
 * The connection to one containerd: typed clients of its services over one channel, every call in
 * our namespace. `connectContainerd` returns when the server answers, and has made the namespace.
 *
 * What containerd holds under our namespace is ours alone; garbage collection is containerd's, so
 * whoever writes content or snapshots that nothing names yet works under a lease (`leases.ts`).
 */

import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import type { Clock } from "#base/ports.ts";
import { Containers } from "#wire/gen/containerd/containers_pb.js";
import { Content } from "#wire/gen/containerd/content_pb.js";
import { Diff } from "#wire/gen/containerd/diff_pb.js";
import { Events } from "#wire/gen/containerd/events_service_pb.js";
import { Images } from "#wire/gen/containerd/images_pb.js";
import { Introspection } from "#wire/gen/containerd/introspection_pb.js";
import { Leases } from "#wire/gen/containerd/leases_pb.js";
import { Namespaces } from "#wire/gen/containerd/namespaces_pb.js";
import { Snapshots } from "#wire/gen/containerd/snapshots_pb.js";
import { Tasks } from "#wire/gen/containerd/tasks_pb.js";
import { Version } from "#wire/gen/containerd/version_pb.js";
import { sleep } from "../async.ts";
import { openChannel, type RpcClient } from "../grpc/client.ts";

export interface Containerd {
  /** The socket's path. */
  readonly address: string;
  readonly namespace: string;
  readonly tasks: RpcClient<typeof Tasks>;
  readonly containers: RpcClient<typeof Containers>;
  readonly content: RpcClient<typeof Content>;
  readonly images: RpcClient<typeof Images>;
  readonly snapshots: RpcClient<typeof Snapshots>;
  readonly diff: RpcClient<typeof Diff>;
  readonly leases: RpcClient<typeof Leases>;
  readonly events: RpcClient<typeof Events>;
  readonly introspection: RpcClient<typeof Introspection>;
  readonly version: RpcClient<typeof Version>;
  /** Ends the connection; calls under way fail. containerd itself goes on. */
  close(): void;
}

export interface ConnectOptions {
  /** Absolute path of the socket. */
  readonly address: string;
  readonly namespace: string;
  readonly clock: Clock;
  /** How long to wait until it answers; 10 s unless told. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const PROBE_INTERVAL_MS = 25;
const PROBE_TIMEOUT_MS = 5_000;
/** One that has been there is being started again, by us or by the host: calls wait so long for it. */
const PATIENCE_MS = 10_000;

export async function connectContainerd(options: ConnectOptions): Promise<Containerd> {
  const { address, namespace } = options;
  let patienceMs = 0;
  const channel = openChannel({
    target: `unix://${address}`,
    patienceMs: () => patienceMs,
    metadata: { "containerd-namespace": namespace },
  });
  const containerd: Containerd = {
    address,
    namespace,
    tasks: channel.client(Tasks),
    containers: channel.client(Containers),
    content: channel.client(Content),
    images: channel.client(Images),
    snapshots: channel.client(Snapshots),
    diff: channel.client(Diff),
    leases: channel.client(Leases),
    events: channel.client(Events),
    introspection: channel.client(Introspection),
    version: channel.client(Version),
    close: () => channel.close(),
  };
  try {
    await untilServing(containerd, options);
    await ensureNamespace(channel.client(Namespaces), namespace, options.signal);
    patienceMs = PATIENCE_MS;
    return containerd;
  } catch (error) {
    channel.close();
    throw error;
  }
}

async function untilServing(containerd: Containerd, options: ConnectOptions): Promise<void> {
  const { clock, signal } = options;
  const deadline = clock.monotonicMs() + (options.timeoutMs ?? 10_000);
  for (;;) {
    try {
      await containerd.version.version({}, { signal, timeoutMs: PROBE_TIMEOUT_MS });
      return;
    } catch (error) {
      // Anything else than "nobody there" is an answer that waiting will not change.
      if (!isErrorCode(error, "unavailable", "deadline-exceeded")) throw error;
      if (clock.monotonicMs() >= deadline) {
        throw new EngineError(
          "unavailable",
          `containerd does not answer at ${containerd.address}: ${messageOf(error)}`,
          { cause: error },
        );
      }
    }
    await sleep(clock, PROBE_INTERVAL_MS, signal);
  }
}

async function ensureNamespace(
  namespaces: RpcClient<typeof Namespaces>,
  name: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    await namespaces.create({ namespace: { name } }, { signal });
  } catch (error) {
    if (!isErrorCode(error, "already-exists")) throw error;
  }
}
