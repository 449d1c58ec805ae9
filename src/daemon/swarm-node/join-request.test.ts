import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { NodeSpec_Availability } from "#wire/gen/swarmkit/specs_pb.js";
import { forgetJoinAttempt, loadJoinAttempt, saveJoinAttempt } from "./join-request.ts";
import { type SwarmPaths, swarmPaths } from "./paths.ts";

let folder: string;
let paths: SwarmPaths;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skep-join-request-"));
  paths = swarmPaths(folder);
});

afterEach(() => rm(folder, { recursive: true, force: true }));

const attempt = { token: "SWMTKN-1-x", availability: NodeSpec_Availability.DRAIN };
const asked = { rootCert: "root", privateKey: "key", nodeId: "n1", pending: true };

test("an attempt is read as it was written, until it is forgotten", async () => {
  expect(await loadJoinAttempt(paths)).toBeUndefined();
  for (const each of [
    { ...attempt, asked: undefined },
    { ...attempt, token: "", asked },
  ]) {
    await saveJoinAttempt(paths, each);
    expect(await loadJoinAttempt(paths)).toEqual(each);
  }
  await forgetJoinAttempt(paths);
  await forgetJoinAttempt(paths);
  expect(await loadJoinAttempt(paths)).toBeUndefined();
});

test("a file that makes no sense is told of, with what to do", async () => {
  await saveJoinAttempt(paths, attempt);
  const values = [
    fc.string(),
    fc.json(),
    fc.jsonValue().map((Asked) => JSON.stringify({ Token: "", Availability: 0, Asked })),
  ];
  await fc.assert(
    fc.asyncProperty(fc.oneof(...values), async (text) => {
      await writeFile(paths.joinRequest, text);
      const error = await loadJoinAttempt(paths).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      if (error === undefined) return;
      expect(error).toBeInstanceOf(EngineError);
      expect((error as EngineError).message).toMatch(/Leave the swarm with --force and join again/);
    }),
  );
});
