import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { deferred } from "#platform/async.ts";
import { type AttachTarget, openSession } from "./attach.ts";
import { OutputHub } from "./output-hub.ts";
import type { ProcessIo } from "./process-io.ts";

/** A process that reads once it is let to. */
function slowProcess(terminal: boolean) {
  const started = deferred();
  const heard: string[] = [];
  const target: AttachTarget = {
    hub: new OutputHub(),
    terminal,
    stdinOnce: true,
    ready: () => started.promise,
    io: () =>
      ({
        writeStdin: (bytes: Uint8Array) => {
          heard.push(Buffer.from(bytes).toString());
          return Promise.resolve();
        },
        endStdin: () => {
          heard.push("<end>");
          return Promise.resolve();
        },
      }) as unknown as ProcessIo,
  };
  const client = new PassThrough();
  const session = openSession(target, {
    stdin: client,
    stdout: true,
    stderr: true,
    write: () => undefined,
    detachKeys: "",
    signal: new AbortController().signal,
  });
  return { client, session, started, heard };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test.each([
  [true, ["typed"]],
  [false, ["typed", "<end>"]],
])(
  "terminal %s: what was typed before the connection broke is the process's",
  async (terminal, all) => {
    const { client, started, heard } = slowProcess(terminal);
    client.write("typed");
    await turn();
    client.destroy(new Error("reset"));
    await turn();
    started.resolve();
    await expect.poll(() => heard).toEqual(all);
  },
);

test("the detach keys end the session after what was typed before them", async () => {
  const { client, session, started, heard } = slowProcess(true);
  started.resolve();
  client.write("typed\u0010\u0011not");
  expect(await session.ended).toBe("detached");
  expect([heard, client.destroyed]).toEqual([["typed"], false]);
});

test("a client that types faster than the process reads is slowed down, and loses nothing", async () => {
  const { client, started, heard } = slowProcess(false);
  const sent = Array.from({ length: 100 }, (_, index) => `${index}`.padStart(10_000));
  let held = false;
  for (const piece of sent) {
    held = !client.write(piece) || held;
    await turn();
  }
  expect(held).toBe(true);
  client.end();
  started.resolve();
  await expect.poll(() => heard.at(-1)).toBe("<end>");
  expect(heard.slice(0, -1).join("")).toBe(sent.join(""));
});
