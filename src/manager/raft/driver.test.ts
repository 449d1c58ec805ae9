/** How long a member waits for what, by a clock that the test turns. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { silentLog } from "#platform/log.ts";
import { realRandom } from "#platform/real-ports.ts";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { dataKey, keyRing } from "#platform/wal/key-ring.ts";
import { EMPTY_CONF_STATE, type Message, message } from "#raft/index.ts";
import { type Disk, openDisk } from "./disk.ts";
import { Driver } from "./driver.ts";
import { recover } from "./recovery.ts";

const TICK_MS = 80;
const ELECTION_TICKS = 10;
/** Of three members: this one, another candidate, and the dead leader. */
const [SELF, RIVAL, DEAD] = [1, 2, 3] as const;

let dir: string;
let disk: Disk;
let driver: Driver;
let clock: ManualClock;
let sent: Message[];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "skep-driver-"));
  const keys = keyRing([dataKey(realRandom.bytes(32))]);
  const opened = await openDisk({
    dir,
    keys,
    random: realRandom,
    onFailure: (error) => expect.unreachable(error.message),
  });
  disk = opened.disk;
  const { storage, store, members, applied } = await recover(opened.loaded);
  const confState = { ...EMPTY_CONF_STATE, voters: [SELF, RIVAL, DEAD] };
  storage.applySnapshot({ metadata: { confState, index: 1, term: 1 }, data: new Uint8Array(0) });
  sent = [];
  clock = new ManualClock();
  driver = new Driver({
    id: SELF,
    storage,
    applied: Math.max(applied, 1),
    disk,
    store,
    members,
    clock,
    // The longest wait that there is.
    random: { ...realRandom, int: (bound) => bound - 1 },
    log: silentLog,
    tickMs: TICK_MS,
    electionTick: ELECTION_TICKS,
    events: {
      send: (m) => sent.push(m),
      applied: () => undefined,
      roleChanged: () => undefined,
      removedSelf: () => undefined,
      failed: (error) => expect.unreachable(String(error)),
      ticked: () => undefined,
    },
  });
  driver.start();
});

afterEach(async () => {
  await driver.stop();
  await disk.close();
  await rm(dir, { recursive: true });
});

/** Turns the clock until the member asks for votes of this kind, milliseconds; grants pre-votes. */
async function untilAsked(type: "MsgPreVote" | "MsgVote", limitMs: number): Promise<number> {
  for (let waitedMs = 0; waitedMs <= limitMs; waitedMs += 4) {
    // What it writes goes to a real disk.
    await new Promise((resolve) => setTimeout(resolve, 1));
    const asked = sent.find((m) => m.type === type && m.to === RIVAL);
    if (asked !== undefined) {
      sent = [];
      const { term } = asked;
      if (type === "MsgPreVote") {
        driver.step(message({ type: "MsgPreVoteResp", from: RIVAL, to: SELF, term }));
      }
      return waitedMs;
    }
    await clock.advance(4);
  }
  throw new Error(`no ${type} in ${limitMs} ms`);
}

test("a candidate that is tied with another stands again soon, but only once", async () => {
  const patienceMs = 2 * ELECTION_TICKS * TICK_MS;
  expect(await untilAsked("MsgPreVote", patienceMs)).toBeGreaterThan(ELECTION_TICKS * TICK_MS);
  await untilAsked("MsgVote", TICK_MS);
  // The rival has voted for itself, the dead one says nothing.
  expect(await untilAsked("MsgPreVote", patienceMs)).toBeLessThan(patienceMs / 3);
  await untilAsked("MsgVote", TICK_MS);
  // Hurried ticks that are left may bring it about once more; then it waits as long as at first.
  let pauseMs = 0;
  for (let round = 0; round < 4 && pauseMs < ELECTION_TICKS * TICK_MS; round++) {
    pauseMs = await untilAsked("MsgPreVote", patienceMs);
    await untilAsked("MsgVote", TICK_MS);
  }
  expect(pauseMs).toBeGreaterThan(ELECTION_TICKS * TICK_MS);
  expect(driver.leads).toBe(false);
});
