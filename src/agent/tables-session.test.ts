import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { AsyncQueue, deferred } from "#platform/async.ts";
import { silentLog } from "#platform/log.ts";
import { ManualClock, turn } from "#platform/testing/manual-clock.ts";
import { type TablesMessage, TablesMessageSchema } from "#wire/gen/skep/dataplane_pb.js";
import { followTables } from "./tables-session.ts";

function message(revision: bigint, continued = false): TablesMessage {
  return create(TablesMessageSchema, { revision, continued, removedNetworks: [`r${revision}`] });
}

/** A session whose manager and executor are played by hand. */
function session(watch?: () => AsyncIterable<TablesMessage>) {
  const end = new AbortController();
  const clock = new ManualClock();
  let queue = new AsyncQueue<TablesMessage>(10);
  let streams = 0;
  const said: string[] = [];
  let answer = deferred();
  answer.resolve();
  const client = {
    watch:
      watch ??
      (() => {
        streams += 1;
        queue = new AsyncQueue<TablesMessage>(10);
        end.signal.addEventListener("abort", () => queue.end(end.signal.reason));
        return queue;
      }),
    acknowledge: async ({ revision }: { revision: bigint }) => {
      said.push(`ack ${revision}`);
    },
  };
  const over = followTables(
    {
      channel: { client: () => client } as never,
      sessionId: () => "s",
      clock,
      log: silentLog,
      apply: async ({ revision, removedNetworks }) => {
        said.push(`apply ${revision} ${removedNetworks.join("+")}`);
        await answer.promise;
      },
      onSource: (source) => said.push(source),
    },
    end.signal,
  );
  over.catch(() => undefined);
  return {
    clock,
    said,
    over,
    send: async (...messages: TablesMessage[]) => {
      await turn();
      for (const one of messages) queue.push(one);
      await turn();
    },
    fail: async () => {
      queue.end(new EngineError("unavailable", "gone"));
      await turn();
    },
    hold: () => {
      answer = deferred();
      return answer;
    },
    end: () => end.abort(new EngineError("cancelled", "over")),
    streams: () => streams,
  };
}

test("messages are applied in order, in whole, and acknowledged when the kernel has them", async () => {
  const { said, send, hold, end } = session();
  await send(message(1n), message(2n, true), message(2n));
  expect(said).toEqual(["apply 1 r1", "following", "ack 1", "apply 2 r2+r2", "following", "ack 2"]);
  said.length = 0;
  const kernel = hold();
  await send(message(3n), message(4n));
  expect(said).toEqual(["apply 3 r3"]);
  kernel.resolve();
  await turn();
  expect(said).toContain("ack 4");
  end();
});

test("a stream that fails is opened again, with growing pauses", async () => {
  const { clock, said, send, fail, end, streams } = session();
  await send(message(1n));
  await fail();
  expect(said.at(-1)).toBe("lost");
  await clock.advance(99);
  expect(streams()).toBe(1);
  await clock.advance(1);
  expect(streams()).toBe(2);
  await fail();
  await clock.advance(299);
  expect(streams()).toBe(2);
  await clock.advance(1);
  expect(streams()).toBe(3);
  end();
});

test("a manager without a data plane is asked once", async () => {
  let asked = 0;
  const { clock, said, end, over } = session(() => {
    asked += 1;
    throw new EngineError("unimplemented", "unknown service skep.v1.DataPlane");
  });
  await clock.advance(60_000);
  expect(said).toEqual(["unsupported"]);
  expect(asked).toBe(1);
  end();
  await expect(over).rejects.toThrow("over");
});

test("what is applied after the session has ended says nothing of the next one", async () => {
  const { said, send, hold, end } = session();
  const kernel = hold();
  await send(message(1n));
  end();
  await turn();
  expect(said).toEqual(["apply 1 r1", "lost"]);
  kernel.resolve();
  await turn();
  expect(said).toEqual(["apply 1 r1", "lost"]);
});
