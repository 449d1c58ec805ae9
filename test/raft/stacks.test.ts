/**
 * A leader that dies while stacks are deployed: each stack is there in full or not at all, in the old
 * version or in the new one, and what was acknowledged is there.
 */

import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { deployStack } from "#manager/control/stacks.ts";
import { fixture, serviceSpec } from "#manager/control/testing/fixture.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import type { ReadView } from "#store/types.ts";
import { DeployStackRequestSchema } from "#wire/gen/skep/deploy_pb.js";
import { eventually, TestCluster, type TestMember } from "./cluster.ts";

const LABEL = "com.docker.stack.namespace";
const VERSION = "test.version";
const ROUNDS = 4;
const STACKS = 12;
const SERVICES = 6;

let cluster: TestCluster;
beforeEach(async () => {
  cluster = await TestCluster.make();
  const a = await cluster.start("a");
  await cluster.leader();
  const others = [
    await cluster.start("b", { joins: ["a"] }),
    await cluster.start("c", { joins: ["a"] }),
  ];
  for (const { node } of [a, ...others]) {
    await eventually(30_000, "three voters", () => node.status().voters.length === 3);
  }
});
afterEach(() => cluster.stop());

function deploy(member: TestMember, stack: string, version: number) {
  const named = (name: string) => ({
    annotations: { name: `${stack}_${name}`, labels: { [LABEL]: stack, [VERSION]: `${version}` } },
  });
  const context = { ...fixture(), state: member.node.state, clock: realClock, random: realRandom };
  const data = new TextEncoder().encode("x");
  const request = create(DeployStackRequestSchema, {
    name: stack,
    networks: [named("net")],
    secrets: [{ ...named("key"), data }],
    configs: [{ ...named("conf"), data }],
    services: Array.from({ length: SERVICES }, (_, number) => serviceSpec(named(`s${number}`))),
  });
  return deployStack(context, request);
}

/** Versions of a stack's objects, in order. A network stays as it was made. */
function versions(view: ReadView, stack: string): readonly string[] {
  const found: string[] = [];
  for (const kind of ["secret", "config", "service"] as const) {
    for (const { spec } of view.all(kind)) {
      const labels = spec?.annotations?.labels ?? {};
      if (labels[LABEL] === stack) found.push(labels[VERSION] ?? "");
    }
  }
  return found;
}

test("all or nothing", { timeout: 120_000 }, async () => {
  let inDoubt = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    const leader = await cluster.leader(30_000);
    const stacks = Array.from({ length: STACKS }, (_, number) => `r${round}s${number}`);
    const [first = "", second = "", ...others] = stacks;
    // Two are there before, and get a new version while the leader dies.
    await deploy(leader, first, 1);
    await deploy(leader, second, 1);
    const acknowledged = new Map<string, number>();
    // The outcome of these is told one after the other, so that the leader dies between them.
    let begun = 0;
    const outcomes = [first, second, ...others].map(async (stack, place) => {
      const version = stack === first || stack === second ? 2 : 1;
      for (let turn = 0; turn < place; turn += 1) await new Promise(setImmediate);
      try {
        begun += 1;
        await deploy(leader, stack, version);
        acknowledged.set(stack, version);
      } catch {
        inDoubt += 1;
      }
    });
    await eventually(30_000, "deploys on their way", () => begun > round * 2);
    await leader.kill();
    await Promise.all(outcomes);
    const next = await cluster.leader(30_000, leader.name);
    const view = await next.node.state.linearizable();
    for (const stack of stacks) {
      const seen = versions(view, stack);
      expect([0, SERVICES + 2], stack).toContain(seen.length);
      expect(new Set(seen).size, `${stack}: ${seen.join(" ")}`).toBeLessThanOrEqual(1);
      const promised = acknowledged.get(stack);
      if (promised !== undefined) expect(seen[0], stack).toBe(String(promised));
    }
    const back = await cluster.start(leader.name);
    await eventually(
      30_000,
      "the one that was killed to catch up",
      () => back.node.state.view().index >= view.index,
    );
    for (const stack of stacks) {
      expect(versions(back.node.state.view(), stack)).toEqual(versions(view, stack));
    }
  }
  // Otherwise nobody died in the middle of anything.
  expect(inDoubt).toBeGreaterThan(0);
});
