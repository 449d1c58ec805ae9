/**
 * Three managers in processes and network namespaces of their own, under clients that read and write
 * through any of them, while they are killed, paused, cut off and run out of disk. What the clients
 * saw must be explicable by one register each (linearizability), and at the end all goes on.
 */

import { mkdir, mkdtemp, readFile, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { UnaryClient } from "#platform/grpc/testing/unary.ts";
import { linearizabilityFault } from "../../sim/linearizability.ts";
import { bundleManager, formSwarm, leaderOf, ManagerProcess, until } from "./processes/managers.ts";
import { HostNetwork, run } from "./processes/network.ts";
import { createLarge, Registers } from "./processes/registers.ts";

const NAMES = ["m1", "m2", "m3"];
/** The manager whose disk runs full. */
const SMALL = "m3";
const DISK_BYTES = 256 * 1024 * 1024;
const CLIENTS = 6;
const KEYS = 3;

let dir: string;
let network: HostNetwork | undefined;
let managers: readonly ManagerProcess[] = [];
let hasDisk = false;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "skep-processes-"));
  await mkdir(join(dir, SMALL));
  run("mount", "-t", "tmpfs", "-o", `size=${DISK_BYTES}`, "skep-processes", join(dir, SMALL));
  hasDisk = true;
  const hosts = HostNetwork.make(NAMES);
  network = hosts;
  const bundle = await bundleManager();
  managers = await Promise.all(
    NAMES.map((name) =>
      ManagerProcess.make({
        bundle,
        dir,
        name,
        address: `${hosts.address(name)}:2377`,
        prefix: hosts.prefix(name),
      }),
    ),
  );
  await formSwarm(managers);
});

afterAll(async () => {
  await Promise.all(managers.map((manager) => manager.kill()));
  network?.remove();
  if (hasDisk) run("umount", join(dir, SMALL));
  await rm(dir, { recursive: true });
});

function named(name: string): ManagerProcess {
  const found = managers.find((manager) => manager.name === name);
  if (found === undefined) throw new Error(`no manager ${name}`);
  return found;
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function leader(): Promise<ManagerProcess> {
  return await leaderOf(managers.filter((manager) => manager.running));
}

/** Takes the disk away from under the small manager until it steps back, then gives it back. */
async function fillDisk(): Promise<void> {
  const mount = join(dir, SMALL);
  const { bsize, blocks, bfree } = await statfs(mount);
  run("mount", "-o", `remount,size=${(blocks - bfree) * bsize}`, mount);
  const small = named(SMALL);
  const isTold = async () =>
    (await readFile(small.logFile, "utf8")).includes("free some space on the disk of");
  const connection = new UnaryClient((await leader()).controlSocket);
  // Entries that its log has no room for.
  const payload = Buffer.alloc(900 * 1024, "x");
  for (let n = 0; !(await isTold()) && n < 100; n++) await createLarge(connection, n, payload);
  connection.close();
  expect(await isTold()).toBe(true);
  run("mount", "-o", `remount,size=${DISK_BYTES}`, mount);
  await until(60_000, `${SMALL} manages again`, async () =>
    (await small.info()).active ? true : undefined,
  );
}

const FAULTS: Readonly<Record<string, () => Promise<void>>> = {
  "the leader is killed": async () => {
    const victim = await leader();
    await victim.kill();
    await pause(1_500);
    await victim.start();
  },
  "the leader is paused": async () => {
    const victim = await leader();
    victim.signal("SIGSTOP");
    await pause(3_000);
    victim.signal("SIGCONT");
  },
  "the leader is cut off": async () => {
    const victim = await leader();
    network?.cut(victim.name, true);
    await pause(4_000);
    network?.cut(victim.name, false);
  },
  "the leader hears but is not heard": async () => {
    const victim = await leader();
    network?.mute(victim.name, true);
    await pause(4_000);
    network?.mute(victim.name, false);
  },
  "a disk is full": fillDisk,
  "all are killed": async () => {
    await Promise.all(managers.map((manager) => manager.kill()));
    await Promise.all(managers.map((manager) => manager.start()));
  },
};

test("what clients see under kills, pauses, partitions and a full disk is linearizable", async () => {
  const registers = await Registers.make((await leader()).controlSocket, KEYS);
  const stop = new AbortController();
  const clients = Array.from({ length: CLIENTS }, (_, n) => client(registers, n, stop.signal));
  let accepted = 0;
  for (const [fault, happen] of Object.entries(FAULTS)) {
    await happen();
    // Each time, the swarm takes writes again before the next blow.
    accepted = await acceptedMore(registers, accepted, fault);
  }
  stop.abort();
  await Promise.all(clients);
  await everyoneAgrees(registers);
  expect(linearizabilityFault(registers.history)).toBeUndefined();
});

/** Reads and writes through one manager after another. */
async function client(registers: Registers, number: number, signal: AbortSignal): Promise<void> {
  const connections = managers.map(({ controlSocket }) => new UnaryClient(controlSocket));
  for (let turn = number; !signal.aborted; turn++) {
    const connection = connections[turn % connections.length];
    if (connection === undefined) break;
    await registers.exchange(number, connection, turn % KEYS);
    // Where nobody answers the refusal is immediate.
    await pause(5);
  }
  for (const connection of connections) connection.close();
}

async function acceptedMore(registers: Registers, before: number, fault: string): Promise<number> {
  const count = () =>
    registers.history.filter(({ action, answer }) => action.kind === "cas" && answer?.ok === true)
      .length;
  return await until(30_000, `writes after: ${fault}`, async () =>
    count() > before + 20 ? count() : undefined,
  );
}

/** Every manager answers every register, and the answers count like any other. */
async function everyoneAgrees(registers: Registers): Promise<void> {
  for (const manager of managers) {
    const connection = new UnaryClient(manager.controlSocket);
    for (const key of registers.keys) {
      await until(20_000, `an answer of ${manager.name}`, () =>
        registers.read(CLIENTS, connection, key),
      );
    }
    connection.close();
  }
}
