/** Attachments in every order in which the manager's answer, its task and a crash can come. */

import { create } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { EngineError } from "#base/error.ts";
import { deferred } from "#platform/async.ts";
import { silentLog } from "#platform/log.ts";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { type Task, TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import type { AttachmentRecord } from "../networks/records.ts";
import { SwarmAttachments } from "./attachments.ts";

const ID = "attachment1";
const NETWORK = "network1";

function taskOf(id = ID): Task {
  return create(TaskSchema, {
    id,
    networks: [{ network: { id: NETWORK }, addresses: ["10.0.1.7/24"] }],
  });
}

function setup(holders: readonly AttachmentRecord[] = []) {
  const clock = new ManualClock();
  const answer = deferred<{ attachmentId: string }>();
  const returned: string[] = [];
  const disconnected: string[] = [];
  const resources = {
    attachNetwork: () => answer.promise,
    detachNetwork: ({ attachmentId }: { attachmentId: string }) => {
      returned.push(attachmentId);
      return Promise.resolve({});
    },
  };
  const attachments = new SwarmAttachments({
    resources: () => resources as never,
    isActive: () => true,
    networks: { attachments: () => holders },
    disconnect: (container, network) => {
      disconnected.push(`${container} ${network}`);
      return Promise.resolve();
    },
    clock,
    log: silentLog,
  });
  const lend = () => attachments.lend("container1", "net", {});
  return { clock, answer, returned, disconnected, attachments, lend };
}

const LOAN = { id: ID, networkId: NETWORK, addresses: ["10.0.1.7/24"] };
const signal = new AbortController().signal;
/** Whether a promise has settled once everything that can run has run. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  void promise.then(
    () => (done = true),
    () => (done = true),
  );
  await new Promise((resolve) => setImmediate(resolve));
  return done;
}

describe("a loan", () => {
  it("comes with its task, after the manager's answer or before it", async () => {
    for (const early of [true, false]) {
      const { attachments, answer, lend } = setup();
      const loan = lend();
      if (early) await attachments.attach(taskOf());
      answer.resolve({ attachmentId: ID });
      if (!early) {
        expect(await settled(loan)).toBe(false);
        await attachments.attach(taskOf());
      }
      expect(await loan).toEqual(LOAN);
    }
  });

  it("lasts until it is given back, and its task with it", async () => {
    const { attachments, answer, lend, returned } = setup();
    const loan = lend();
    await attachments.attach(taskOf());
    const over = attachments.detached(taskOf(), signal);
    answer.resolve({ attachmentId: ID });
    await loan;
    expect(await settled(over)).toBe(false);
    attachments.giveBack(ID);
    await over;
    expect(returned).toEqual([ID]);
  });

  it("that comes too late is given back", async () => {
    const { attachments, answer, lend, clock, returned } = setup();
    const loan = lend();
    answer.resolve({ attachmentId: ID });
    expect(await settled(loan)).toBe(false);
    void clock.advance(30_000);
    await expect(loan).rejects.toThrow("attaching to network failed");
    expect(returned).toEqual([ID]);
    await attachments.attach(taskOf());
    expect(await settled(attachments.detached(taskOf(), signal))).toBe(true);
  });

  it("that is refused says so in docker's words", async () => {
    const { answer, lend } = setup();
    const loan = lend();
    answer.reject(new EngineError("not-found", "network net not found"));
    await expect(loan).rejects.toMatchObject({
      code: "not-found",
      message:
        "Could not attach to network net: rpc error: code = NotFound desc = network net not found",
    });
  });
});

describe("a task", () => {
  it("that nobody asks for ends at once: its start died with an engine", async () => {
    const { attachments } = setup();
    await attachments.attach(taskOf());
    expect(await settled(attachments.detached(taskOf(), signal))).toBe(true);
  });

  it("that came while another start asked ends when none asks any more", async () => {
    const { attachments, answer, lend, returned } = setup();
    const loan = lend();
    await attachments.attach(taskOf("other"));
    const over = attachments.detached(taskOf("other"), signal);
    expect(await settled(over)).toBe(false);
    await attachments.attach(taskOf());
    answer.resolve({ attachmentId: ID });
    await loan;
    await over;
    expect(returned).toEqual(["other"]);
  });

  it("goes on for a container that an earlier engine has connected", async () => {
    const endpoint = { loan: ID, networkId: NETWORK } as AttachmentRecord["endpoints"][number];
    const holder = { containerId: "c", endpoints: [endpoint] } as unknown as AttachmentRecord;
    const { attachments, disconnected } = setup([holder]);
    const stop = new AbortController();
    const over = attachments.detached(taskOf(), stop.signal);
    expect(await settled(over)).toBe(false);
    await attachments.detach(taskOf());
    expect(disconnected).toEqual([`c ${NETWORK}`]);
    stop.abort(new EngineError("cancelled", "the agent stops"));
    await expect(over).rejects.toThrow("the agent stops");
    const again = attachments.detached(taskOf(), signal);
    expect(await settled(again)).toBe(false);
    attachments.giveBack(ID);
    await again;
  });
});
