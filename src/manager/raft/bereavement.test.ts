import { createServer } from "node:net";
import { expect, test } from "vitest";
import { lookAfter } from "./bereavement.ts";
import { Members } from "./members.ts";

const LEADER = 7;

async function listening(): Promise<{ port: number; close(): Promise<void> }> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const close = () => new Promise<void>((resolve) => server.close(() => resolve()));
  return { port: address.port, close };
}

/** Who is held to be gone after the connection to the member broke. */
async function goneAfter(addr: string, leadId: number): Promise<readonly number[]> {
  const members = new Members();
  members.learn([{ raftId: LEADER, nodeId: "leader", addr }]);
  const gone: number[] = [];
  await lookAfter(LEADER, { members, leadId: () => leadId, gone: (id) => gone.push(id) });
  return gone;
}

test("only a leader whose port refuses is gone", async () => {
  const server = await listening();
  const addr = `127.0.0.1:${server.port}`;
  expect(await goneAfter(addr, LEADER)).toEqual([]);
  await server.close();
  expect(await goneAfter(addr, LEADER)).toEqual([LEADER]);
  expect(await goneAfter(addr, 8)).toEqual([]);
  // A name that nobody knows says nothing of the leader's process.
  expect(await goneAfter("nowhere.invalid:1", LEADER)).toEqual([]);
});
