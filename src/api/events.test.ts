import { get, type IncomingMessage } from "node:http";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { STORE_CHANGES_MAX, WATCH_QUEUE_MAX } from "#base/limits.ts";
import type { EngineEvent } from "#wire/docker/events.ts";
import { ResourceSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { type Harness, swarmHarness } from "./testing/swarm-harness.ts";

let api: Harness;
const open: IncomingMessage[] = [];

beforeEach(async () => {
  api = await swarmHarness();
});
afterEach(async () => {
  for (const stream of open.splice(0)) stream.destroy();
  await api.close();
});

/** The first events of a stream. */
async function events(query: string, count: number): Promise<readonly EngineEvent[]> {
  const path = `/events?${query}`;
  const body = await new Promise<IncomingMessage>((resolve, reject) => {
    get({ socketPath: api.socketPath, path }, resolve).once("error", reject);
  });
  open.push(body);
  let text = "";
  for await (const chunk of body) {
    text += String(chunk);
    if (text.split("\n").length > count) break;
  }
  const lines = text.split("\n").slice(0, count);
  return lines.map((line) => JSON.parse(line) as EngineEvent);
}

async function config(name: string): Promise<number> {
  const Data = Buffer.from("x").toString("base64");
  expect((await api.call("POST", "/configs/create", { Name: name, Data })).status).toBe(201);
  return api.context.state.view().index;
}

test("who saw a version gets all that came after it, past and new, from a manager he never asked", async () => {
  const seen = await config("one");
  await config("two");
  const two = (await api.call("GET", "/configs/two")).json as { ID: string };
  expect((await api.call("DELETE", "/configs/two")).status).toBe(204);
  const waiting = events(`version=${seen}`, 3);
  const last = await config("three");
  const told = await waiting;
  expect(told.map(({ Type, Action, Actor }) => [Type, Action, Actor.Attributes["name"]])).toEqual([
    ["config", "create", "two"],
    ["config", "remove", "two"],
    ["config", "create", "three"],
  ]);
  expect(told[0]?.Actor.ID).toBe(two.ID);
  expect(told.map(({ version }) => version)).toEqual([seen + 1, seen + 2, last]);
  expect(told.every(({ scope, time }) => scope === "swarm" && time > 1_600_000_000)).toBe(true);
});

test("filters hold for what is caught up on", async () => {
  const seen = await config("one");
  await config("two");
  await config("three");
  const filters = encodeURIComponent(JSON.stringify({ config: ["three"] }));
  const [only] = await events(`version=${seen}&filters=${filters}`, 1);
  expect(only?.Actor.Attributes["name"]).toBe("three");
});

test("a version that is too old is refused, and not passed over", { timeout: 60_000 }, async () => {
  // The ring holds so many changes; each of these transactions makes as many as one may.
  const { state } = api.context;
  const rounds = Math.ceil(WATCH_QUEUE_MAX / STORE_CHANGES_MAX) + 1;
  for (let round = 0; round < rounds; round += 1) {
    await state.update("leader", (tx) => {
      for (let number = 0; number < STORE_CHANGES_MAX; number += 1) {
        tx.create("resource", create(ResourceSchema, { id: `r${round}-${number}` }));
      }
    });
  }
  const { status, message } = await api.call("GET", "/events?version=1");
  expect([status, message]).toEqual([
    400,
    "version 1 is too old: this manager does not know all changes since then any more. List the objects anew, and follow events from now",
  ]);
});

test("what is no version", async () => {
  const { status, message } = await api.call("GET", "/events?version=v1");
  expect([status, message]).toEqual([400, 'invalid value for "version": v1']);
});
