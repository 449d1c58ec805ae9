/**
 * A locked manager that runs tasks: what its disk tells before, while and after it is locked, and that
 * its containers neither notice the lock nor wait for the key.
 */

import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { docker } from "../../bench/lib/engine.ts";
import { SkepEngine } from "../../bench/lib/skep.ts";
import { send } from "../compatibility/call.ts";
import { loadImage } from "../compatibility/engines.ts";
import { IMAGE } from "../compatibility/requests.ts";

const PATIENT = { timeout: 60_000, interval: 100 };
const ENV = "correct-horse-battery-staple";
const PASSWORD = "registry-password-of-the-operator";
const AUTH = Buffer.from(
  JSON.stringify({ username: "ann", password: PASSWORD, serveraddress: "registry.example" }),
).toString("base64url");

let engine: SkepEngine;
const cli = (...args: readonly string[]) => docker(engine, ...args);
const dataRoot = () => join(engine.host.folder, "d");
const swarmFolder = () => join(dataRoot(), "swarm");
const wireguardKey = () => join(dataRoot(), "wireguard/key.pem");

beforeAll(async () => {
  engine = new SkepEngine();
  await engine.start();
  await loadImage(engine);
}, 60_000);

afterAll(() => engine?.host.destroy());

/** Files below the folder that hold one of the texts. */
function filesWith(folder: string, ...texts: readonly string[]): readonly string[] {
  const patterns = texts.flatMap((text) => ["-e", text]);
  try {
    const found = execFileSync("grep", ["-rlaF", ...patterns, "--", folder]).toString();
    return found.split("\n").filter((line) => line !== "");
  } catch {
    return [];
  }
}

/** What the swarm keeps of its tasks, and the credentials wherever they are. A container's own files are its host's. */
const told = () => [...filesWith(swarmFolder(), ENV), ...filesWith(dataRoot(), PASSWORD, AUTH)];

/** The lock that the key file is under, once nothing is left of what was before it. */
function settledLock(): string | undefined {
  const text = readFileSync(join(swarmFolder(), "certificates/swarm-node.key"), "utf8");
  if (!text.includes("ENCRYPTED") || text.includes("raft-dek-pending")) return undefined;
  return /kek-version: (\d+)/.exec(text)?.[1];
}

function wireguardDevice(): string {
  const netns = basename(engine.host.folder);
  const links = execFileSync("ip", ["-n", netns, "-br", "link"]).toString();
  return /^wg-\w+/m.exec(links)?.[0] ?? "";
}

const swarmState = () => cli("info", "--format", "{{.Swarm.LocalNodeState}}");
const containerOf = (service: string) =>
  cli("ps", "-q", "--no-trunc", "--filter", `label=com.docker.swarm.service.name=${service}`);
const life = (container: string) =>
  cli("inspect", "--format", "{{.State.Pid}} {{.State.StartedAt}} {{.State.Running}}", container);
const unlockKey = () => cli("swarm", "unlock-key", "-q");
const unlock = (key: string) =>
  send(engine.socket, { method: "POST", path: "/swarm/unlock", body: { UnlockKey: key } });

async function startService(name: string): Promise<string> {
  const spec = {
    Name: name,
    TaskTemplate: {
      ContainerSpec: {
        Image: IMAGE,
        Command: ["sleep", "1000"],
        Env: [`PASSWORD=${ENV}`],
        Init: true,
      },
      Networks: [{ Target: "secret" }],
      RestartPolicy: { Condition: "any", Delay: 100_000_000 },
    },
    Mode: { Replicated: { Replicas: 1 } },
  };
  const headers = { "X-Registry-Auth": AUTH };
  const call = { method: "POST", path: "/v1.41/services/create", body: spec, headers };
  expect((await send(engine.socket, call)).status).toBe(201);
  await expect.poll(() => containerOf(name), PATIENT).not.toBe("");
  return containerOf(name);
}

test("the disk of a locked manager tells nothing of its tasks, and they run through it all", async () => {
  const address = { ListenAddr: "127.0.0.1:2377", AdvertiseAddr: "127.0.0.1" };
  await send(engine.socket, { method: "POST", path: "/swarm/init", body: address });
  await cli("network", "create", "-d", "overlay", "--opt", "encrypted", "secret");
  const web = await startService("web");
  const before = await life(web);
  const device = wireguardDevice();
  expect(device).not.toBe("");
  // Without a lock it lies there: the question is a fair one.
  await expect.poll(() => told().length, PATIENT).toBeGreaterThan(0);
  expect(existsSync(wireguardKey())).toBe(true);

  await cli("swarm", "update", "--autolock");
  await expect.poll(settledLock, PATIENT).toBeDefined();
  const lock = settledLock();
  expect(told()).toEqual([]);
  await expect.poll(() => existsSync(wireguardKey()), PATIENT).toBe(false);
  const second = await startService("second");
  expect(told()).toEqual([]);

  const first = await unlockKey();
  await cli("swarm", "unlock-key", "--rotate", "-q");
  const key = await unlockKey();
  expect(key).not.toBe(first);
  const isLockedAnew = () => ![lock, undefined].includes(settledLock());
  await expect.poll(isLockedAnew, PATIENT).toBe(true);
  expect(told()).toEqual([]);

  await engine.crash();
  expect(told()).toEqual([]);
  await engine.start();
  await expect.poll(swarmState, PATIENT).toBe("locked");
  expect(await life(web)).toBe(before);
  expect((await unlock(first)).status).toBe(401);
  expect(await life(web)).toBe(before);
  expect(told()).toEqual([]);

  expect((await unlock(key)).status).toBe(200);
  await expect.poll(swarmState, PATIENT).toBe("active");
  expect(await life(web)).toBe(before);
  expect([wireguardDevice(), existsSync(wireguardKey())]).toEqual([device, false]);
  // The agent has them again: what ends is replaced, and what goes is removed.
  await cli("kill", second);
  const replaced = async () => ![second, ""].includes(await containerOf("second"));
  await expect.poll(replaced, PATIENT).toBe(true);
  expect(await containerOf("web")).toBe(web);
  expect(await life(web)).toBe(before);
  expect(told()).toEqual([]);

  await cli("swarm", "update", "--autolock=false");
  const tasks = join(swarmFolder(), "worker/tasks");
  const open = () => readdirSync(tasks).map((name) => readFileSync(join(tasks, name)));
  const isOpen = (bytes: Buffer) => bytes.toString("latin1", 0, 4) === "STK2";
  await expect.poll(() => open().every(isOpen), PATIENT).toBe(true);
  await expect.poll(() => existsSync(wireguardKey()), PATIENT).toBe(true);

  // Who has lost the key can leave: nothing of the swarm stays behind, sealed or running.
  await cli("swarm", "update", "--autolock");
  await expect.poll(() => ![lock, undefined].includes(settledLock()), PATIENT).toBe(true);
  await engine.crash();
  await engine.start();
  await expect.poll(swarmState, PATIENT).toBe("locked");
  await cli("swarm", "leave", "--force");
  expect(await cli("ps", "-aq")).toBe("");
  expect([await swarmState(), told()]).toEqual(["inactive", []]);
}, 180_000);
