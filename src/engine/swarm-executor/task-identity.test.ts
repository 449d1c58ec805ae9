import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { rootValidity } from "#pki/profile.ts";
import { WORKLOAD_LIFETIME_MS, workloadProfile } from "#pki/workload.ts";
import { silentLog } from "#platform/log.ts";
import { realRandom } from "#platform/real-ports.ts";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { keyFits } from "#platform/x509/certificate.ts";
import {
  type Authority,
  createRoot,
  issueWorkload,
  readPrivateKey,
  readRequest,
} from "#platform/x509/issue.ts";
import { TaskIdentities } from "./task-identity.ts";

const MINUTE = 60_000;
let directory: string;
let clock: ManualClock;
let root: Authority;
let asked: number;
let refuse: boolean;
let identities: TaskIdentities;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "skep-identity-"));
  clock = new ManualClock(Date.now());
  root = await createRoot(rootValidity(clock.nowMs()), realRandom);
  asked = 0;
  refuse = false;
  identities = keeper();
});

afterEach(async () => {
  identities.forget("t1");
  // The last identity may still be on its way to the disk.
  await rm(directory, { recursive: true, maxRetries: 10 });
});

function keeper(): TaskIdentities {
  return new TaskIdentities({
    issue: async (_taskId, csr) => {
      asked += 1;
      if (refuse) throw new Error("no manager");
      const profile = workloadProfile("c1", "web", clock.nowMs());
      const request = await readRequest(csr);
      return {
        certificate: await issueWorkload(root, request, profile, realRandom),
        bundle: root.cert,
      };
    },
    clock,
    log: silentLog,
  });
}

async function shown() {
  const [cert, key, bundle] = await Promise.all(
    ["svid.pem", "svid_key.pem", "bundle.pem"].map((name) =>
      readFile(join(directory, name), "utf8"),
    ),
  );
  return { cert: cert ?? "", key: key ?? "", bundle: bundle ?? "" };
}

test("certificate, key and roots are there, and change together at half of its life", async () => {
  await identities.write(directory, "t1");
  const first = await shown();
  expect(keyFits(first.cert, readPrivateKey(first.key))).toBe(true);
  expect(first.bundle).toBe(root.cert);
  await clock.advance(WORKLOAD_LIFETIME_MS / 2 - MINUTE);
  expect(asked).toBe(1);
  await clock.advance(2 * MINUTE);
  await expect.poll(async () => (await shown()).cert).not.toBe(first.cert);
  const second = await shown();
  expect(keyFits(second.cert, readPrivateKey(second.key))).toBe(true);
  expect(second.key).not.toBe(first.key);
  // What was before is gone.
  await expect.poll(async () => (await readdir(directory)).length).toBe(5);
});

test("without a manager it is tried again, and the old one stays", async () => {
  await identities.write(directory, "t1");
  const { cert } = await shown();
  refuse = true;
  await clock.advance(WORKLOAD_LIFETIME_MS / 2 + MINUTE);
  await expect.poll(() => asked).toBeGreaterThan(1);
  expect((await shown()).cert).toBe(cert);
  refuse = false;
  await expect
    .poll(async () => {
      await clock.advance(MINUTE);
      return (await shown()).cert;
    })
    .not.toBe(cert);
});

test("an engine that was restarted goes on with it; what is forgotten is not", async () => {
  await identities.write(directory, "t1");
  identities.forget("t1");
  await clock.advance(WORKLOAD_LIFETIME_MS);
  expect(asked).toBe(1);
  const next = keeper();
  await next.resume(directory, "t1");
  await clock.advance(1);
  await expect.poll(() => asked).toBe(2);
  next.renewAll();
  await clock.advance(1);
  await expect.poll(() => asked).toBe(3);
  next.forget("t1");
  expect(clock.pending).toBe(0);
  await next.resume(join(directory, "nothing"), "t2");
  expect(clock.pending).toBe(0);
});
