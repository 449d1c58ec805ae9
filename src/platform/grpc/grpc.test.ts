import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { CA } from "#wire/gen/swarmkit/ca_pb.js";
import { Health, HealthCheckResponse_ServingStatus } from "#wire/gen/swarmkit/health_pb.js";
import { LogBroker } from "#wire/gen/swarmkit/logbroker_pb.js";
import { deferred } from "../async.ts";
import { openChannel, type RpcChannel } from "./client.ts";
import { createRpcServer, type RpcServer } from "./server.ts";
import { UnsentError } from "./status.ts";

let folder: string;
let server: RpcServer;
let channel: RpcChannel;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skep-grpc-"));
  server = createRpcServer((context) => {
    if (!context.local) throw new EngineError("permission-denied", "no");
  });
});

afterEach(async () => {
  channel.close();
  await server.close();
  await rm(folder, { recursive: true });
});

async function start(): Promise<void> {
  await server.listenUnix(join(folder, "s.sock"));
  channel = openChannel({ target: `unix://${join(folder, "s.sock")}` });
}

test("unary: the answer and the error keep value, code and message", async () => {
  server.add(Health, {
    check: ({ service }) => {
      if (service === "bad") throw new EngineError("not-found", "no such service");
      return { status: HealthCheckResponse_ServingStatus.SERVING };
    },
  });
  await start();
  const health = channel.client(Health);
  expect((await health.check({ service: "Raft" })).status).toBe(
    HealthCheckResponse_ServingStatus.SERVING,
  );
  await expect(health.check({ service: "bad" })).rejects.toMatchObject({
    code: "not-found",
    message: "no such service",
  });
});

test("unary: answers of any size arrive whole, in one frame or in many", async () => {
  server.add(CA, {
    getRootCACertificate: (_request, { metadata }) => ({
      certificate: new Uint8Array(Number(metadata["size"])).fill(7),
    }),
    getUnlockKey: () => ({}),
  });
  await start();
  for (const size of [0, 1_000, 16_300, 20_000, 65_536, 200_000, 1_000_000, 3_000_000]) {
    const call = channel.client(CA).getRootCACertificate({}, { metadata: { size: String(size) } });
    expect((await call).certificate.length).toBe(size);
  }
});

test("streams: server stream ends by error, client stream is read whole", async () => {
  let published = 0;
  server.add(LogBroker, {
    async *listenSubscriptions() {
      yield { id: "a" };
      yield { id: "b" };
      throw new EngineError("aborted", "over");
    },
    async publishLogs(requests) {
      for await (const request of requests) published += request.messages.length;
      return {};
    },
  });
  await start();
  const broker = channel.client(LogBroker);
  const seen: string[] = [];
  await expect(async () => {
    for await (const message of broker.listenSubscriptions({})) seen.push(message.id);
  }).rejects.toMatchObject({ code: "aborted", message: "over" });
  expect(seen).toEqual(["a", "b"]);
  await broker.publishLogs(
    (async function* () {
      yield { messages: [{}, {}] };
      yield { messages: [{}] };
    })(),
  );
  expect(published).toBe(3);
});

test("a caller that goes away aborts the handler's signal", async () => {
  const gone = deferred();
  server.add(LogBroker, {
    async *listenSubscriptions(_request, context) {
      context.signal.addEventListener("abort", () => gone.resolve());
      yield { id: "a" };
      await gone.promise;
    },
    publishLogs: async () => ({}),
  });
  await start();
  for await (const _ of channel.client(LogBroker).listenSubscriptions({})) break;
  await gone.promise;
});

test("a server that drains answers what it has begun, and begins nothing", async () => {
  const asked = deferred();
  const hold = deferred();
  server.add(Health, {
    check: async () => {
      asked.resolve();
      await hold.promise;
      return { status: HealthCheckResponse_ServingStatus.SERVING };
    },
  });
  await start();
  const health = channel.client(Health);
  const first = health.check({});
  await asked.promise;
  let isDrained = false;
  const drained = (async () => {
    await server.drain(60_000);
    isDrained = true;
  })();
  await expect(health.check({})).rejects.toBeInstanceOf(UnsentError);
  expect(isDrained).toBe(false);
  hold.resolve();
  await drained;
  await server.close();
  expect((await first).status).toBe(HealthCheckResponse_ServingStatus.SERVING);
  // Nor does anybody begin with what cannot be sent.
  await expect(health.check({})).rejects.toBeInstanceOf(UnsentError);
});

test("a channel with patience waits for a server that is not there yet; one without says so at once", async () => {
  server.add(Health, { check: () => ({ status: HealthCheckResponse_ServingStatus.SERVING }) });
  const path = join(folder, "s.sock");
  const target = `unix://${path}`;
  const hasty = openChannel({ target });
  await expect(hasty.client(Health).check({})).rejects.toMatchObject({ code: "unavailable" });
  hasty.close();
  let patienceMs = 30_000;
  channel = openChannel({ target, patienceMs: () => patienceMs });
  const health = channel.client(Health);
  const waiting = health.check({});
  patienceMs = 100;
  await expect(health.check({})).rejects.toMatchObject({
    code: "unavailable",
    message: expect.stringContaining(`no connection to ${target}: connect ENOENT`),
  });
  await server.listenUnix(path);
  expect((await waiting).status).toBe(HealthCheckResponse_ServingStatus.SERVING);
});
