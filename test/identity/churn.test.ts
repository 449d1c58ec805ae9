/**
 * Certificates of seconds under load: everything that changes an identity happens again and again, and
 * nobody who asks a manager that runs is refused. `SKEP_TEST_MINUTES` makes it as long as one likes.
 */

import { readFile } from "node:fs/promises";
import { create } from "@bufbuild/protobuf";
import { afterEach, expect, test, vi } from "vitest";
import { EngineError } from "#base/error.ts";
import { must } from "#base/invariant.ts";
import { swarmPaths } from "#daemon/swarm-node/paths.ts";
import { readCertificate, verifyChain } from "#platform/x509/certificate.ts";
import type { Cluster } from "#wire/gen/swarmkit/objects_pb.js";
import { type NodeSpec, ServiceSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import { NodeRole, NodeStatus_State } from "#wire/gen/swarmkit/types_pb.js";
import {
  authorityOf,
  clusterOf,
  nodesOf,
  shortenCertificates,
  TestCluster,
  type TestNode,
} from "./fixtures.ts";
import { runningExecutor } from "./pretend-swarm.ts";

const MINUTES = Number(process.env["SKEP_TEST_MINUTES"] ?? 0.4);
const LIFETIME_MS = MINUTES < 5 ? 15_000 : 120_000;
const LOAD_PAUSE_MS = 25;
const { WORKER, MANAGER } = NodeRole;

let cluster: TestCluster;

afterEach(() => cluster.close());

class Swarm {
  readonly nodes = new Map<string, TestNode>();
  /** Nodes that are being restarted, or are not managers at this moment. */
  readonly away = new Set<string>();
  readonly failures: string[] = [];
  readonly done: Record<string, number> = {};

  /** Keeps the longest that something took, in whole milliseconds. */
  slowest(what: string, tookMs: number): void {
    const key = `slowest ${what}, ms`;
    this.done[key] = Math.max(this.done[key] ?? 0, Math.round(tookMs));
  }

  /** Managers that shall answer. */
  managers(): readonly TestNode[] {
    return ["m1", "m2", "m3"]
      .filter((name) => !this.away.has(name))
      .map((name) => must(this.nodes.get(name), name));
  }

  any(): TestNode {
    const list = this.managers();
    return must(list[Math.floor(Math.random() * list.length)], "manager");
  }

  async changeCluster(change: (cluster: Cluster) => object, rotation: object = {}): Promise<void> {
    await this.#again(async () => {
      const { cluster: object } = await clusterOf(this.any());
      const version = must(object.meta?.version, "version");
      const request = {
        clusterId: object.id,
        clusterVersion: version,
        spec: must(object.spec, "spec"),
      };
      await this.any()
        .swarm.control()
        .updateCluster({ ...request, ...change(object), rotation });
    });
  }

  async changeNode(name: string, change: Partial<NodeSpec>): Promise<void> {
    const nodeId = must(this.nodes.get(name), name).swarm.localNodeId();
    await this.#again(async () => {
      const control = this.any().swarm.control();
      const { node } = await control.getNode({ nodeId });
      const spec = { ...must(node?.spec, "spec"), ...change };
      await control.updateNode({ nodeId, nodeVersion: must(node?.meta?.version, "version"), spec });
    });
  }

  async restart(name: string): Promise<void> {
    this.away.add(name);
    const again = await must(this.nodes.get(name), name).restart();
    this.nodes.set(name, again);
    await vi.waitUntil(() => again.swarm.info().state === "active", { timeout: 60_000 });
    this.away.delete(name);
  }

  /**
   * As people do, once more: somebody else wrote between a read and the write that it was for, or the
   * manager that was asked stopped leading meanwhile and can't know what became of it.
   */
  async #again(work: () => Promise<void>): Promise<void> {
    await vi.waitUntil(
      () =>
        work().then(
          () => true,
          (error: unknown) => {
            const { code, message } = EngineError.from(error);
            if (message === "update out of sequence") return false;
            if (this.away.size > 0 && code === "unavailable") return false;
            // A refusal that keeps the swarm alive: a manager that came back is not heard of yet.
            if (message.includes("loss of quorum")) return false;
            throw error;
          },
        ),
      { timeout: 30_000, interval: 50 },
    );
  }
}

async function formed(): Promise<Swarm> {
  cluster = new TestCluster(runningExecutor);
  const swarm = new Swarm();
  for (const name of ["m1", "m2", "m3", "w1", "w2"])
    swarm.nodes.set(name, await cluster.node(name));
  const node = (name: string) => must(swarm.nodes.get(name), name);
  await node("m1").init();
  await shortenCertificates(node("m1"), LIFETIME_MS);
  const tokens = await clusterOf(node("m1"));
  for (const name of ["m2", "m3"]) await node(name).join(node("m1"), tokens.manager);
  for (const name of ["w1", "w2"]) await node(name).join(node("m2"), tokens.worker);
  // The first manager's own certificate was made before the setting.
  return swarm;
}

/** Reads and writes by every manager that is there, all the time. */
async function load(swarm: Swarm, client: string, over: AbortSignal): Promise<void> {
  for (let at = 0; !over.aborted; at += 1) {
    const node = swarm.any();
    const began = [...swarm.away].join();
    const beganMs = performance.now();
    try {
      const control = node.swarm.control();
      if (at % 4 === 0) {
        const spec = create(ServiceSpecSchema, {
          annotations: { name: `load-${client}-${at}` },
          mode: { case: "replicated", value: { replicas: 2n } },
          task: { runtime: { case: "container", value: { image: "web:1" } } },
        });
        const { service } = await control.createService({ spec });
        await swarm
          .any()
          .swarm.control()
          .removeService({ serviceId: must(service, "service").id });
      } else {
        await control.listNodes({});
        await control.listTasks({});
      }
      swarm.done["requests"] = (swarm.done["requests"] ?? 0) + 1;
      swarm.slowest("requests", performance.now() - beganMs);
    } catch (error) {
      // A manager that stops or leads no more may not know what became of a request that it had; but
      // nobody is ever taken for somebody else.
      const still = began === [...swarm.away].join() && began === "";
      const { code, message } = EngineError.from(error);
      const unknown = code === "permission-denied" || code === "unauthenticated";
      if (still || unknown) swarm.failures.push(`${node.name}: ${code}: ${message}`);
      else swarm.done["cut off"] = (swarm.done["cut off"] ?? 0) + 1;
    }
    await new Promise((resolve) => setTimeout(resolve, LOAD_PAUSE_MS));
  }
}

/** A worker is only down if it was taken down. */
async function watchWorkers(swarm: Swarm, over: AbortSignal): Promise<void> {
  while (!over.aborted) {
    const nodes = await nodesOf(swarm.any()).catch(() => new Map<string, never>());
    for (const name of ["w1", "w2"]) {
      const node = must(swarm.nodes.get(name), name);
      const state = nodes.get(node.swarm.localNodeId())?.status?.state;
      if (state === NodeStatus_State.DOWN && !swarm.away.has(name)) {
        swarm.failures.push(`${name} is down`);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function rotateRoot(swarm: Swarm): Promise<void> {
  const before = (await clusterOf(swarm.any())).worker;
  await swarm.changeCluster(({ spec }) => {
    const caConfig = must(spec?.caConfig, "ca");
    return { spec: { ...spec, caConfig: { ...caConfig, forceRotate: caConfig.forceRotate + 1n } } };
  });
  await vi.waitUntil(async () => (await clusterOf(swarm.any())).worker !== before, {
    timeout: 60_000,
    interval: 200,
  });
}

async function joinAndLeave(swarm: Swarm, at: number): Promise<void> {
  await swarm.changeCluster(() => ({}), { workerJoinToken: true, managerJoinToken: true });
  const guest = await cluster.node(`g${at}`);
  const began = performance.now();
  await guest.join(swarm.any(), (await clusterOf(swarm.any())).worker);
  swarm.slowest("join", performance.now() - began);
  const nodeId = guest.swarm.localNodeId();
  await guest.swarm.leave(false);
  await guest.stop();
  await swarm.any().swarm.control().removeNode({ nodeId, force: true });
}

async function demoteAndPromote(swarm: Swarm, name: string): Promise<void> {
  const node = must(swarm.nodes.get(name), name);
  swarm.away.add(name);
  await swarm.changeNode(name, { desiredRole: WORKER });
  await vi.waitUntil(() => !node.swarm.info().controlAvailable, { timeout: 30_000 });
  await vi.waitUntil(
    async () => (await nodesOf(swarm.any())).get(node.swarm.localNodeId())?.role === WORKER,
    { timeout: 30_000 },
  );
  await swarm.changeNode(name, { desiredRole: MANAGER });
  await vi.waitUntil(() => node.swarm.info().controlAvailable, { timeout: 40_000 });
  swarm.away.delete(name);
}

test(
  "identities change all the time, and nobody is refused who should not be",
  async () => {
    const swarm = await formed();
    const over = new AbortController();
    const busy = [
      load(swarm, "a", over.signal),
      load(swarm, "b", over.signal),
      watchWorkers(swarm, over.signal),
    ];
    const ends = Date.now() + MINUTES * 60_000;
    const count = (what: string) => (swarm.done[what] = (swarm.done[what] ?? 0) + 1);
    const names = ["m2", "m3", "m1"];
    try {
      for (let at = 0; at === 0 || Date.now() < ends; at += 1) {
        const manager = must(names[at % 3], "name");
        await rotateRoot(swarm).then(() => count("root rotations"));
        await joinAndLeave(swarm, at).then(() => count("token rotations, joins and departures"));
        await demoteAndPromote(swarm, manager).then(() => count("demotions and promotions"));
        await swarm
          .restart(must(names[(at + 1) % 3], "name"))
          .then(() => count("manager restarts"));
        await swarm.restart(at % 2 === 0 ? "w1" : "w2").then(() => count("worker restarts"));
      }
    } finally {
      over.abort();
      await Promise.all(busy);
      // What a long run has done is worth a line.
      process.stderr.write(`${JSON.stringify(swarm.done)}\n`);
    }
    expect(swarm.failures).toEqual([]);
    expect(swarm.done["requests"]).toBeGreaterThan(100);
    const { cert: root } = authorityOf(swarm.any());
    for (const node of swarm.nodes.values()) {
      const text = await readFile(swarmPaths(node.dataRoot).nodeCert, "utf8");
      verifyChain(text, root, Date.now());
      const { notAfterMs } = readCertificate(text);
      expect(notAfterMs - Date.now()).toBeLessThanOrEqual(LIFETIME_MS);
    }
  },
  (MINUTES + 4) * 60_000,
);
