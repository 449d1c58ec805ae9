/**
 * A service that is kept at the newest version of its image, with a real registry: it goes to a new
 * version by itself, comes back from one that fails, and does not try that one again. Tags are noted
 * by digest when a service is made.
 */

import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startRegistry, type TestRegistry } from "../images/registry-server.ts";
import { IMAGE, Lab, until } from "./lab.ts";

let lab: Lab;
let registry: TestRegistry;
let name: string;

beforeAll(async () => {
  lab = await Lab.up({ hosts: 1, engineFlags: ["--insecure-registry=10.99.0.0/16"] });
  await lab.loadImage(["h1"]);
  const gateway = lab.address("h1").replace(/\d+$/, "254");
  registry = await startRegistry(join(lab.folder, "registry"), { kind: "none" }, gateway);
  name = `${registry.host}/web`;
  await push("1.4.0", "serve");
});

afterAll(async () => {
  await lab.down();
  await registry.stop();
});

/** A version of the image whose container does this. */
async function push(tag: string, command: string): Promise<void> {
  const id = await lab.docker("h1", "create", IMAGE, command);
  await lab.docker("h1", "commit", "--change", `CMD ["${command}"]`, id, `${name}:${tag}`);
  await lab.docker("h1", "rm", id);
  await lab.docker("h1", "push", `${name}:${tag}`);
}

async function image(): Promise<string> {
  return (await lab.service("h1", "web")).Spec.TaskTemplate.ContainerSpec?.Image ?? "";
}

/** All tasks run the version, and the update is over. */
async function settled(tag: string, state: string): Promise<void> {
  await until(`${tag} runs, ${state}`, async () => {
    const { UpdateStatus } = await lab.service("h1", "web");
    const tasks = await lab.running("h1", "web");
    const right = tasks.filter(({ Spec }) =>
      Spec.ContainerSpec?.Image.includes(`web:${tag}@sha256`),
    );
    return UpdateStatus?.State === state && tasks.length === 2 && right.length === 2;
  });
}

test("a service follows the versions of its image, and stays away from a bad one", async () => {
  const pace = ["--update-monitor=1s", "--update-failure-action=rollback", "--rollback-monitor=1s"];
  const watch = ["--image-watch=1s", "--image-versions=1.4.x"];
  const flags = ["-q", "--name=web", "--replicas=2", "--restart-delay=100ms", ...pace, ...watch];
  const { code, stderr } = await lab.skep("h1", "service", "create", ...flags, `${name}:1.4.0`);
  expect([code, stderr]).toEqual([0, ""]);
  expect(await image()).toMatch(/\/web:1\.4\.0@sha256:[0-9a-f]{64}$/);
  await until("it runs", async () => (await lab.running("h1", "web")).length === 2);

  await push("1.5.0", "serve");
  await push("1.4.2", "serve");
  await settled("1.4.2", "completed");

  await push("1.4.3", "false");
  await settled("1.4.2", "rollback_completed");
  const { Version } = await lab.service("h1", "web");
  // It is asked for every second, and nothing comes of it.
  await new Promise((resolve) => setTimeout(resolve, 5_000));
  expect((await lab.service("h1", "web")).Version).toEqual(Version);

  await push("1.4.4", "serve");
  await settled("1.4.4", "completed");
}, 240_000);
