import { create } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { createLocalState } from "#manager/raft/local-state.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { ClusterSchema, NodeSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { openBackup, sealBackup } from "./backup.ts";

const key = realRandom.bytes(32);
let file: Buffer;

beforeAll(async () => {
  const state = createLocalState({ clock: realClock, random: realRandom });
  await state.update("leader", (tx) => {
    tx.create(
      "cluster",
      create(ClusterSchema, { id: "c1", spec: { annotations: { name: "default" } } }),
    );
    tx.create("node", create(NodeSchema, { id: "n1", description: { hostname: "first" } }));
  });
  file = await sealBackup(state.view(), key, 1_700_000_000_000);
  await state.stop();
});

async function refusal(bytes: Uint8Array, withKey: Uint8Array = key): Promise<string> {
  const error: unknown = await openBackup(bytes, withKey).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(EngineError);
  expect(error).toMatchObject({ code: "invalid-argument" });
  return EngineError.from(error).message;
}

test("what went in comes out, and nothing of it is readable without the key", async () => {
  const { clusterId, createdAt, store } = await openBackup(file, key);
  expect({ clusterId, createdAt }).toEqual({
    clusterId: "c1",
    createdAt: "2023-11-14T22:13:20.000Z",
  });
  expect(store.nodes.map(({ description }) => description?.hostname)).toEqual(["first"]);
  expect(file.includes("first")).toBe(false);
  expect(await refusal(file, realRandom.bytes(32))).toContain("or this is not its key");
});

test("cut off anywhere it is refused", async () => {
  for (let length = 0; length < file.length; length += 1) await refusal(file.subarray(0, length));
});

test("with any byte changed, taken out or put in it is refused", async () => {
  const at = fc.nat(file.length - 1);
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.tuple(at, fc.integer({ min: 1, max: 255 })).map(([index, bits]) => {
          const changed = Buffer.from(file);
          changed[index] = (changed[index] ?? 0) ^ bits;
          return changed;
        }),
        at.map((index) => Buffer.concat([file.subarray(0, index), file.subarray(index + 1)])),
        fc
          .tuple(at, fc.uint8Array({ minLength: 1, maxLength: 40 }))
          .map(([index, more]) =>
            Buffer.concat([file.subarray(0, index), more, file.subarray(index)]),
          ),
        fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
        fc
          .uint8Array({ maxLength: 400 })
          .map((bytes) => Buffer.concat([Buffer.from("SKEP SWARM BACKUP 1\n{}\n"), bytes])),
      ),
      async (bytes) => {
        if (!bytes.equals(file)) await refusal(bytes);
      },
    ),
    { numRuns: Number(process.env["SKEP_TEST_RUNS"] ?? 300) },
  );
});
