import { expect, test } from "vitest";
import { Channel } from "./channel.ts";

test("a full channel holds its senders back, in order, and loses nothing", async () => {
  const channel = new Channel<number>(2);
  const sent: number[] = [];
  const sending = Promise.all(
    [1, 2, 3, 4, 5].map(async (n) => {
      if (await channel.send(n)) sent.push(n);
    }),
  );
  await Promise.resolve();
  expect(sent.length).toBeLessThanOrEqual(2);
  const received: number[] = [];
  for await (const n of channel) {
    received.push(n);
    if (received.length === 5) channel.end();
  }
  await sending;
  expect(received).toEqual([1, 2, 3, 4, 5]);
});

test("a sender gives up when its signal is aborted or the channel ends", async () => {
  const channel = new Channel<number>(1);
  const abort = new AbortController();
  await channel.send(1);
  const first = channel.send(2, abort.signal);
  const second = channel.send(3);
  abort.abort();
  expect(await first).toBe(false);
  channel.end();
  expect(await second).toBe(false);
  expect(await channel.send(4)).toBe(false);
});

test("a consumer that leaves ends the channel", async () => {
  const channel = new Channel<number>(1);
  await channel.send(1);
  const waiting = channel.send(2);
  for await (const n of channel) {
    expect(n).toBe(1);
    break;
  }
  await waiting;
  expect(await channel.send(3)).toBe(false);
});
