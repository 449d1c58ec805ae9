/** How calls of a network's plug-ins end, against a real socket. */

import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { silentLog } from "#platform/log.ts";
import { realClock } from "#platform/real-ports.ts";
import { createPluginRegistry } from "../plugins/registry.ts";
import { callQuietly, type Remote, remoteOf } from "./remote-call.ts";

let folder: string;
let server: Server;
let remote: Remote;

/** Answers as the method's name says. */
const ANSWERS: Readonly<Record<string, readonly [number, string]>> = {
  "/Plugin.Activate": [200, '{"Implements":["NetworkDriver"]}'],
  "/NetworkDriver.Done": [200, '{"Value":"yes"}'],
  "/NetworkDriver.Refused": [200, '{"Err":"boom"}'],
  "/NetworkDriver.Failed": [500, '{"Err":"boom"}'],
};

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skep-plugins-"));
  server = createServer((request, response) => {
    const answer = ANSWERS[request.url ?? ""];
    // The others are never answered.
    if (answer !== undefined) response.writeHead(answer[0]).end(answer[1]);
  });
  await new Promise<void>((resolve) => server.listen(join(folder, "p.sock"), resolve));
  const folders = { sockets: folder, specs: [] };
  const plugins = createPluginRegistry({ folders, clock: realClock, log: silentLog });
  remote = remoteOf({ options: { plugins } }, "p", "NetworkDriver");
});

afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true });
});

test("errors read as docker's: one in the answer is the plug-in's, else the call failed", async () => {
  expect(await remote.call("Done", {})).toEqual({ Value: "yes" });
  await expect(remote.call("Refused", {})).rejects.toThrow(/^remote: boom$/);
  await expect(remote.call("Failed", {})).rejects.toThrow(/^NetworkDriver.Failed: boom$/);
});

test("a plug-in that does not answer in time is named, with what it was asked", async () => {
  await expect(remote.call("Silent", {}, { timeoutMs: 50 })).rejects.toMatchObject({
    code: "deadline-exceeded",
    message: expect.stringContaining("NetworkDriver.Silent: the plugin p did not answer") as string,
  });
});

test("who refuses has heard, who is not there has not", async () => {
  const state = { log: silentLog };
  expect(await callQuietly(state, remote, "Done", {})).toBe(true);
  expect(await callQuietly(state, remote, "Refused", {})).toBe(true);
  expect(await callQuietly(state, remote, "Failed", {})).toBe(true);
  await rm(join(folder, "p.sock"));
  expect(await callQuietly(state, remote, "Done", {})).toBe(false);
});
