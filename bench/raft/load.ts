/** Clients that write one after another, each waiting for its answer. */

import { UnaryClient } from "#platform/grpc/testing/unary.ts";
import type { Dialect } from "./requests.ts";

/** Calls on one connection; a server allows about as many. */
const CALLS_PER_CONNECTION = 100;
const VALUE_BYTES = 256;
let names = 0;

export interface LoadResult {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Writes from `clients` at once for `seconds`, after a while that is not counted. */
export async function load(
  socket: string,
  dialect: Dialect,
  clients: number,
  seconds: number,
): Promise<LoadResult> {
  const connections = Array.from(
    { length: Math.ceil(clients / CALLS_PER_CONNECTION) },
    () => new UnaryClient(socket),
  );
  const value = Buffer.alloc(VALUE_BYTES, "v");
  const latencies: number[] = [];
  const from = performance.now() + 1_000 * Math.min(2, seconds / 2);
  const end = from + 1_000 * seconds;
  const client = async (n: number) => {
    const connection = connections[n % connections.length];
    while (performance.now() < end) {
      names += 1;
      const begun = performance.now();
      const answer = await connection?.call(dialect.path, dialect.write(`bench-${names}`, value));
      if (answer?.status !== 0) throw new Error(`a write failed: ${answer?.message}`);
      const now = performance.now();
      if (begun >= from && now <= end) latencies.push(now - begun);
    }
  };
  try {
    await Promise.all(Array.from({ length: clients }, (_, n) => client(n)));
  } finally {
    for (const connection of connections) connection.close();
  }
  latencies.sort((a, b) => a - b);
  const at = (share: number) => latencies[Math.floor(latencies.length * share)] ?? Number.NaN;
  return { perSecond: latencies.length / seconds, p50Ms: at(0.5), p99Ms: at(0.99) };
}
