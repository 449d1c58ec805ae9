/**
 * Who the managers are, in the hard cases, with managers in processes and network namespaces of their
 * own: they come, go, die and move while clients write; what would leave the swarm without a majority
 * is refused; and where the majority is lost, nobody is told anything that may not be true any more.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { UnaryClient } from "#platform/grpc/testing/unary.ts";
import { linearizabilityFault } from "../../sim/linearizability.ts";
import { bundleManager, formSwarm, leaderOf, ManagerProcess, until } from "./processes/managers.ts";
import { HostNetwork } from "./processes/network.ts";
import { Registers } from "./processes/registers.ts";

const HOSTS = ["m1", "m2", "m3", "m4", "m5"];
const CLIENTS = 4;
const KEYS = 3;

let bundle: string;
let dir: string;
let network: HostNetwork;
let managers: ManagerProcess[] = [];

beforeAll(async () => {
  bundle = await bundleManager();
});
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "skep-membership-"));
  network = HostNetwork.make(HOSTS);
  managers = await Promise.all(HOSTS.slice(0, 3).map(made));
  await formSwarm(managers);
});
afterEach(async () => {
  await Promise.all(managers.map((manager) => manager.kill()));
  network.remove();
  await rm(dir, { recursive: true });
});

function made(name: string): Promise<ManagerProcess> {
  const address = `${network.address(name)}:2377`;
  return ManagerProcess.make({ bundle, dir, name, address, prefix: network.prefix(name) });
}

function running(): readonly ManagerProcess[] {
  return managers.filter((manager) => manager.running);
}

async function follower(): Promise<ManagerProcess> {
  const leader = await leaderOf(running());
  const found = running().find((manager) => manager !== leader);
  if (found === undefined) throw new Error("nobody follows");
  return found;
}

async function idOf(manager: ManagerProcess): Promise<string> {
  return (await manager.info()).nodeId;
}

async function joined(name: string): Promise<ManagerProcess> {
  const manager = await made(name);
  managers.push(manager);
  await manager.start();
  const leader = await leaderOf(running().filter((one) => one !== manager));
  const token = (await leader.ask({ op: "token" })) as string;
  await manager.ask({ op: "join", remote: leader.address, token });
  const id = await idOf(manager);
  await voters((all) => all.includes(id));
  return manager;
}

/** Waits until the leader counts these, and only these, as voters. */
async function voters(areRight: (nodeIds: readonly string[]) => boolean): Promise<void> {
  await until(30_000, "the voters", async () => {
    const { members } = await (await leaderOf(running())).info();
    return areRight(members.filter(({ voter }) => voter).map(({ nodeId }) => nodeId));
  });
}

/** Asks the leader, whoever it is at that moment. */
async function changed(order: Parameters<ManagerProcess["ask"]>[0]): Promise<void> {
  await until(20_000, `the change ${JSON.stringify(order)}`, async () => {
    try {
      await (await leaderOf(running())).ask(order);
      return true;
    } catch (error) {
      if (/out of sequence|leader|is not down/.test(String(error))) return false;
      throw error;
    }
  });
}

/** Clients that read and write through whoever runs. */
class Load {
  readonly registers: Registers;
  readonly #stop = new AbortController();
  readonly #clients: readonly Promise<void>[];

  constructor(registers: Registers) {
    this.registers = registers;
    this.#clients = Array.from({ length: CLIENTS }, (_, n) => this.#client(n));
  }

  /** Resolves when the swarm has taken some more writes. */
  async goesOn(after: string): Promise<void> {
    const before = this.#accepted();
    await until(30_000, `writes after: ${after}`, async () => this.#accepted() > before + 30);
  }

  async end(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#clients);
    expect(linearizabilityFault(this.registers.history)).toBeUndefined();
  }

  #accepted(): number {
    return this.registers.history.filter(
      ({ action, answer }) => action.kind === "cas" && answer?.ok === true,
    ).length;
  }

  async #client(number: number): Promise<void> {
    const connections = new Map<ManagerProcess, UnaryClient>();
    for (let turn = number; !this.#stop.signal.aborted; turn++) {
      const manager = managers[turn % managers.length];
      if (manager === undefined) break;
      const connection = connections.get(manager) ?? new UnaryClient(manager.controlSocket);
      connections.set(manager, connection);
      await this.registers.exchange(number, connection, turn % KEYS);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    for (const connection of connections.values()) connection.close();
  }
}

test("managers come, go, die and move while clients write", async () => {
  const load = new Load(await Registers.make((await leaderOf(managers)).controlSocket, KEYS));
  await joined("m4");
  await load.goesOn("a fourth manager");

  // One goes in order.
  const leaving = await follower();
  const gone = await idOf(leaving);
  await changed({ op: "role", nodeId: gone, isManager: false });
  await voters((all) => all.length === 3 && !all.includes(gone));
  await load.goesOn("three managers again");

  // One dies for good, and another takes its place.
  const dead = running().find(({ name }) => name !== leaving.name);
  if (dead === undefined) throw new Error("nobody is left");
  const deadId = await idOf(dead);
  await dead.kill();
  managers = managers.filter((manager) => manager !== dead);
  await joined("m5");
  await changed({ op: "role", nodeId: deadId, isManager: false });
  await voters((all) => all.length === 3 && !all.includes(deadId));
  await changed({ op: "remove", nodeId: deadId, force: true });
  await load.goesOn("a replacement");

  // The leader comes back with another address.
  const leader = await leaderOf(running());
  const moved = await idOf(leader);
  await leader.kill();
  managers = managers.filter((manager) => manager !== leader);
  network.move(leader.name);
  const again = await made(leader.name);
  managers.push(again);
  await again.start();
  await until(30_000, "the new address with everyone", async () => {
    for (const manager of running().filter(({ name }) => name !== leaving.name)) {
      const { members } = await manager.info();
      if (members.find(({ nodeId }) => nodeId === moved)?.addr !== again.address) return false;
    }
    return true;
  });
  await until(20_000, "a manager as before", async () => {
    const { active, state } = await again.info();
    return active && state === "active";
  });
  await load.goesOn("a move");
  await load.end();
}, 180_000);

test("what would lose the majority is refused, what is lost is said, and any survivor can go on", async () => {
  const registers = await Registers.make((await leaderOf(managers)).controlSocket, KEYS);
  const leader = await leaderOf(managers);
  const [dead, survivor] = managers.filter((manager) => manager !== leader);
  if (dead === undefined || survivor === undefined) throw new Error("too few");
  const ids = await Promise.all(managers.map(idOf));
  await expect(
    leader.ask({ op: "remove", nodeId: await idOf(survivor), force: true }),
  ).rejects.toThrow(
    "is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal",
  );
  await dead.kill();
  await until(20_000, "notice of the silence", async () =>
    (await leader.info()).members.some(({ isSilent }) => isSilent),
  );
  await expect(
    leader.ask({ op: "role", nodeId: await idOf(survivor), isManager: false }),
  ).rejects.toThrow("can't remove member from the raft: this would result in a loss of quorum");
  const connection = new UnaryClient(survivor.controlSocket);
  for (let n = 0; n < 10; n++) await registers.exchange(0, connection, n % KEYS);
  await leader.kill();

  // No answer is better than one that may be old. The first are for a leader that just died.
  await until(20_000, "docker's sentence", async () => {
    const answer = await survivor.ask({ op: "nodes" }).then(() => "an answer", String);
    expect(answer).not.toBe("an answer");
    return answer.includes(
      "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.",
    );
  });
  expect(await registers.read(1, connection, 0)).toBeUndefined();

  await survivor.ask({ op: "init", forceNewCluster: true });
  const { warnings, members } = await survivor.info();
  expect(members.map(({ nodeId }) => nodeId)).toEqual([await idOf(survivor)]);
  const lost = ids.filter((id) => id !== members[0]?.nodeId);
  for (const id of lost) expect(warnings.join()).toContain(id);
  expect(warnings.join()).toMatch(/up to number \d+ \(raft term \d+\)/);
  // Every write that was accepted was so by this one, too: it was one of two.
  const fresh = new UnaryClient(survivor.controlSocket);
  for (const key of registers.keys) {
    await until(20_000, "an answer", () => registers.read(1, fresh, key));
  }
  expect(linearizabilityFault(registers.history)).toBeUndefined();
  // The others may not come back as they were.
  await leader.start();
  await until(30_000, "the end of the old group", async () => {
    const { leads } = await leader.info();
    return !leads;
  });
  expect((await survivor.info()).members).toHaveLength(1);
  connection.close();
  fresh.close();
}, 120_000);
