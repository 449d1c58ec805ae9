import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { deferred } from "#platform/async.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import { silentLog } from "#platform/log.ts";
import { SubscriptionMessageSchema } from "#wire/gen/swarmkit/logbroker_pb.js";
import { createLogSubscriptions } from "./log-subscriptions.ts";
import type { Worker } from "./worker.ts";

test("what could not be published can be asked for again", async () => {
  const calls: string[] = [];
  const twice = deferred();
  const publishLogs = async (_requests: unknown, options: { signal: AbortSignal }) => {
    calls.push("begun");
    if (calls.length === 1) throw new Error("no such subscription");
    twice.resolve();
    await new Promise((resolve) => options.signal.addEventListener("abort", resolve));
  };
  let listeners = 0;
  const forgotten = deferred();
  const worker = {
    matching: () => [],
    onTask: () => {
      listeners += 1;
      return () => {
        listeners -= 1;
        forgotten.resolve();
      };
    },
  } as unknown as Worker;
  const channel = { client: () => ({ publishLogs }) } as unknown as RpcChannel;
  const subscriptions = createLogSubscriptions(worker, channel, silentLog);
  const message = create(SubscriptionMessageSchema, { id: "s", options: { follow: true } });
  subscriptions.handle(message);
  await forgotten.promise;
  expect(listeners).toBe(0);
  await new Promise((resolve) => setImmediate(resolve));
  subscriptions.handle(message);
  await twice.promise;
  subscriptions.close();
});
