import { expect, test } from "vitest";
import { silentLog } from "#platform/log.ts";
import { realRandom } from "#platform/real-ports.ts";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { Renewer } from "./renewer.ts";

const MINUTE = 60_000;

/** How often it renews in an hour, by a clock that is so far ahead of the one who signs. */
async function renewals(aheadMs: number): Promise<number> {
  const clock = new ManualClock();
  const peer = { nodeId: "n", role: "swarm-worker", clusterId: "c" };
  // Made an hour earlier, because clocks differ.
  const issue = () => {
    const now = clock.nowMs() - aheadMs;
    return { notBeforeMs: now - 60 * MINUTE, notAfterMs: now + 60 * MINUTE };
  };
  let validity = issue();
  let count = 0;
  const ended = new AbortController();
  const renewer = new Renewer({
    identity: {
      peer,
      role: NodeRole.WORKER,
      get validity() {
        return validity;
      },
    },
    renew: async () => {
      count += 1;
      validity = issue();
      // What never stops shall fail, not hang.
      if (count > 1_000) ended.abort();
    },
    clock,
    random: realRandom,
    log: silentLog,
  });
  const running = renewer.run(ended.signal);
  await clock.advance(60 * MINUTE);
  ended.abort();
  await running;
  return count;
}

test("certificates of an hour are renewed in it, with a clock far ahead at growing pauses", async () => {
  expect(await renewals(0)).toBeGreaterThan(0);
  const often = await renewals(50 * MINUTE);
  expect(often).toBeGreaterThan(10);
  expect(often).toBeLessThan(40);
});
