/**
 * What an operator does to a running swarm: drain and pause, promote and demote, remove nodes, global
 * services, placement, reservations, updates in both orders, rollback, logs. Both docker command
 * lines take turns.
 */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { IMAGE, Lab, type Task, until } from "./lab.ts";

/** h1 manages; the others work. */
const HOSTS = ["h1", "h2", "h3", "h4"];

const WORKER_REFUSAL =
  "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state.";

let lab: Lab;

beforeAll(async () => {
  lab = await Lab.up({ hosts: 4, managers: 1 });
  await lab.loadImage(HOSTS);
});

afterAll(() => lab.down());

const docker = (...args: readonly string[]) => lab.docker("h1", ...args);

/** What a host says to a question that only managers answer. */
async function refusalOf(host: string): Promise<string> {
  return (await lab.run(host, "docker", ["node", "ls"])).stderr;
}

async function nameOf(nodeId: string | undefined): Promise<string> {
  const nodes = await lab.nodes("h1");
  return nodes.find(({ ID }) => ID === nodeId)?.Description.Hostname ?? "none";
}

/** Hostnames of the nodes that run the service, sorted, once `count` tasks run. */
async function placesOf(service: string, count: number): Promise<readonly string[]> {
  const tasks = await runningTasks(service, count);
  const names = await Promise.all(tasks.map(({ NodeID }) => nameOf(NodeID)));
  return names.toSorted();
}

async function runningTasks(service: string, count: number): Promise<readonly Task[]> {
  return await until(`${count} tasks of ${service} run, and no more`, async () => {
    const running = await lab.running("h1", service);
    const all = await lab.tasks("h1", service);
    const wanted = all.filter(({ DesiredState }) => DesiredState === "running");
    return running.length === count && wanted.length === count && running;
  });
}

async function containersOn(host: string, service: string): Promise<readonly string[]> {
  const filter = `label=com.docker.swarm.service.name=${service}`;
  const listed = await lab.docker(host, "ps", "-q", "--filter", filter);
  return listed.split("\n").filter((id) => id !== "");
}

describe("availability", () => {
  test("drain moves everything away; active does not move it back", async () => {
    await docker("service", "create", "-d", "--name=web", "--replicas=4", IMAGE);
    expect(await placesOf("web", 4)).toEqual(HOSTS);
    await docker("node", "update", "--availability=drain", "h4");
    await until("h4 is empty", async () => (await containersOn("h4", "web")).length === 0);
    expect(await placesOf("web", 4)).not.toContain("h4");
    await docker("node", "update", "--availability=active", "h4");
    expect(await placesOf("web", 4)).not.toContain("h4");
  });

  test("a paused node keeps what it runs and gets nothing new", async () => {
    await docker("node", "update", "--availability=pause", "h4");
    const before = await runningTasks("web", 4);
    await docker("service", "scale", "-d", "web=7");
    const after = await runningTasks("web", 7);
    expect(await placesOf("web", 7)).not.toContain("h4");
    const ids = after.map(({ ID }) => ID);
    expect(before.every(({ ID }) => ids.includes(ID))).toBe(true);
    await docker("node", "update", "--availability=active", "h4");
    await docker("service", "scale", "-d", "web=9");
    expect(await placesOf("web", 9)).toContain("h4");
    await docker("service", "rm", "web");
  });
});

describe("placement", () => {
  test("a global service runs once on every node, also on those that are drained and return", async () => {
    await docker("service", "create", "-d", "--name=agent", "--mode=global", IMAGE);
    expect(await placesOf("agent", 4)).toEqual(HOSTS);
    await docker("node", "update", "--availability=drain", "h2");
    expect(await placesOf("agent", 3)).toEqual(["h1", "h3", "h4"]);
    await docker("node", "update", "--availability=active", "h2");
    expect(await placesOf("agent", 4)).toEqual(HOSTS);
    expect(await docker("service", "ls", "--format={{.Mode}} {{.Replicas}}")).toBe("global 4/4");
    await docker("service", "rm", "agent");
  });

  test("constraints: role, hostname, label; a label that goes takes the tasks with it", async () => {
    await docker("node", "update", "--label-add=zone=a", "h2");
    await docker("node", "update", "--label-add=zone=b", "h3");
    const create = ["service", "create", "-d", "--replicas=2"];
    await docker(...create, "--name=on-manager", "--constraint=node.role==manager", IMAGE);
    await docker(...create, "--name=not-h4", "--constraint=node.hostname!=h4", IMAGE);
    await docker(...create, "--name=zone-a", "--constraint=node.labels.zone==a", IMAGE);
    expect(await placesOf("on-manager", 2)).toEqual(["h1", "h1"]);
    expect(await placesOf("not-h4", 2)).not.toContain("h4");
    expect(await placesOf("zone-a", 2)).toEqual(["h2", "h2"]);
    await docker("node", "update", "--label-add=zone=a", "h3");
    await docker("node", "update", "--label-rm=zone", "h2");
    await until("both are in the zone as it is now", async () => {
      return (await placesOf("zone-a", 2)).join() === "h3,h3";
    });
    await docker("service", "rm", "on-manager", "not-h4", "zone-a");
  });

  test("what fits nowhere waits, and `service ps` says why", async () => {
    const create = ["service", "create", "-d"];
    await docker(...create, "--name=huge", "--reserve-memory=9999g", IMAGE);
    await docker(...create, "--name=nowhere", "--constraint=node.labels.zone==moon", IMAGE);
    const reason = (name: string, format: string) =>
      docker("service", "ps", "--no-trunc", `--format=${format}`, name);
    await until("the reasons are shown", async () => {
      expect(await reason("huge", "{{.CurrentState}}|{{.Error}}")).toMatch(
        /^Pending .*\|"?no suitable node \(insufficient resources on 4 nodes\)"?$/,
      );
      expect(await reason("nowhere", "{{.Error}}")).toMatch(
        /no suitable node \(scheduling constraints not satisfied on 4 nodes\)/,
      );
      return true;
    });
    // As soon as it fits it runs.
    await docker("service", "update", "-d", "--reserve-memory=8m", "huge");
    await runningTasks("huge", 1);
    await docker("service", "rm", "huge", "nowhere");
  });
});

describe("updates", () => {
  /** Most tasks that were seen running at a time, and the fewest, until the update is over. */
  async function watchUpdate(service: string): Promise<{ least: number; most: number }> {
    let least = Number.POSITIVE_INFINITY;
    let most = 0;
    await until("the update is over", async () => {
      const tasks = await lab.tasks("h1", service);
      const running = tasks.filter(({ Status }) => Status.State === "running").length;
      least = Math.min(least, running);
      most = Math.max(most, running);
      return (await lab.service("h1", service)).UpdateStatus?.State === "completed";
    });
    return { least, most };
  }

  test("stop-first never runs more than are wanted, start-first never less", async () => {
    const create = ["service", "create", "-d", "--replicas=3", "--update-monitor=100ms"];
    await docker(...create, "--name=careful", "--update-order=start-first", IMAGE);
    await docker(...create, "--name=frugal", "--update-order=stop-first", IMAGE);
    await runningTasks("careful", 3);
    await runningTasks("frugal", 3);
    const update = ["service", "update", "-d", "--env-add=VERSION=2"];
    await docker(...update, "careful");
    expect((await watchUpdate("careful")).least).toBeGreaterThanOrEqual(3);
    await docker(...update, "frugal");
    expect((await watchUpdate("frugal")).most).toBeLessThanOrEqual(3);
    for (const service of ["careful", "frugal"]) {
      for (const { Spec } of await runningTasks(service, 3)) {
        expect(Spec.ContainerSpec?.Env).toEqual(["VERSION=2"]);
      }
    }
  });

  test("rollback brings the spec of before back", async () => {
    await docker("service", "rollback", "-d", "careful");
    await until("the rollback is over", async () => {
      const { UpdateStatus } = await lab.service("h1", "careful");
      return UpdateStatus?.State === "rollback_completed";
    });
    for (const { Spec } of await runningTasks("careful", 3)) {
      expect(Spec.ContainerSpec?.Env ?? []).toEqual([]);
    }
    await docker("service", "rm", "careful");
  });

  test("an update that fails pauses, or rolls back by itself", async () => {
    const broken = ["--args=false", "--update-monitor=2s", "--restart-condition=none"];
    await docker("service", "update", "-d", ...broken, "frugal");
    await until("paused", async () => {
      const { UpdateStatus } = await lab.service("h1", "frugal");
      return (
        UpdateStatus?.State === "paused" && UpdateStatus.Message?.startsWith("update paused due to")
      );
    });
    // One at a time: the others still serve.
    expect((await lab.running("h1", "frugal")).length).toBe(2);
    await docker("service", "rollback", "-d", "frugal");
    await runningTasks("frugal", 3);
    await docker(
      "service",
      "update",
      "-d",
      "--update-failure-action=rollback",
      ...broken,
      "frugal",
    );
    await until("rolled back", async () => {
      const { UpdateStatus } = await lab.service("h1", "frugal");
      return UpdateStatus?.State === "rollback_completed";
    });
    await runningTasks("frugal", 3);
    await docker("service", "rm", "frugal");
  });
});

test("a version is given up once, and who waits for an update hears how it ended", async () => {
  const skep = (...args: readonly string[]) => lab.skep("h1", "service", ...args);
  const labels = ["strategy=canary", "promotion=manual", "analysis=100ms"];
  const rules = labels.map((label) => `--label=skep.update.${label}`);
  const pace = ["--restart-delay=100ms", "--rollback-monitor=100ms"];
  const create = ["service", "create", "-d", "--name=tried", "--replicas=2", ...rules, ...pace];
  await docker(...create, IMAGE);
  await runningTasks("tried", 2);
  await docker("service", "update", "-d", "--env-add=VERSION=2", "tried");
  await until("it waits to be promoted", async () => {
    const { stdout } = await skep("explain", "tried");
    return stdout.includes("a canary is on trial: update waits for promotion: 1 of 2");
  });
  expect((await skep("abort", "-d", "tried")).code).toBe(0);
  const again = await skep("abort", "-d", "tried");
  expect([again.code, again.stderr]).toEqual([
    1,
    expect.stringMatching(/is going back to the version before already|has no update to abort/),
  ]);
  await until("it is given up", async () => {
    const { UpdateStatus } = await lab.service("h1", "tried");
    return UpdateStatus?.State === "rollback_completed";
  });
  const { stderr } = await lab.run("h1", "docker", ["service", "rollback", "tried"]);
  expect(stderr).toContain("does not have a previous spec");
  const bad = await skep("update", "--args=false", "--update-monitor=1s", "tried");
  expect([bad.code, bad.stderr]).toEqual([
    1,
    expect.stringMatching(/^service update failed: .*: task: non-zero exit \(1\)\n$/),
  ]);
  await docker("service", "rm", "tried");
});

test("logs of a service come from all its tasks, with where they are from", async () => {
  const words = ["sh", "-c", "echo hello from $(hostname); exec serve"];
  await docker(
    "service",
    "create",
    "-d",
    "--name=talk",
    "--replicas=3",
    "--hostname={{.Node.Hostname}}",
    IMAGE,
    ...words,
  );
  await runningTasks("talk", 3);
  const lines = await until("every task has spoken", async () => {
    const text = await docker("service", "logs", "talk");
    const found = text.split("\n").filter((line) => line.includes("hello from"));
    return found.length === 3 && found;
  });
  for (const line of lines) {
    expect(line).toMatch(/^talk\.[123]\.[0-9a-z]{12}@(h[1-4])\s+\| hello from \1$/);
  }
  const [task] = await runningTasks("talk", 3);
  const one = await docker("service", "logs", "--raw", "--tail=1", task?.ID ?? "");
  expect(one).toMatch(/^hello from h[1-4]$/);
  await docker("service", "rm", "talk");
});

test("node ps shows what a node runs", async () => {
  await docker("service", "create", "-d", "--name=here", "--constraint=node.hostname==h3", IMAGE);
  await runningTasks("here", 1);
  expect(await docker("node", "ps", "--format={{.Name}} {{.DesiredState}}", "h3")).toContain(
    "here.1 Running",
  );
  expect(await docker("node", "ps", "--format={{.Name}}", "h4")).not.toContain("here.1");
  await docker("service", "rm", "here");
});

describe("nodes", () => {
  async function reachability(host: string): Promise<string | undefined> {
    return (await lab.node("h1", host)).ManagerStatus?.Reachability;
  }

  test("promoted workers manage, demoted managers work, and tasks stay where they are", async () => {
    await docker("service", "create", "-d", "--name=stay", "--replicas=4", IMAGE);
    const before = (await runningTasks("stay", 4)).map(({ ID }) => ID).toSorted();
    await docker("node", "promote", "h2", "h3");
    await until(
      "three managers",
      async () =>
        (await reachability("h2")) === "reachable" && (await reachability("h3")) === "reachable",
    );
    await until("h2 answers as a manager", () => lab.services("h2"));
    await docker("node", "demote", "h2", "h3");
    for (const host of ["h2", "h3"]) {
      await until(`${host} is no manager`, async () => (await reachability(host)) === undefined);
      // Its certificate says so a moment after the swarm does.
      await until(`${host} knows it`, async () => (await refusalOf(host)).includes(WORKER_REFUSAL));
    }
    const after = (await runningTasks("stay", 4)).map(({ ID }) => ID).toSorted();
    expect(after).toEqual(before);
  });

  test("the last manager cannot be demoted", async () => {
    const { code, stderr } = await lab.run("h1", "docker", ["node", "demote", "h1"]);
    expect(code).toBe(1);
    expect(stderr).toContain("attempting to demote the last manager of the swarm");
  });

  test("a node that is up is not removed, but by force; its tasks move", async () => {
    const refused = await lab.run("h1", "docker", ["node", "rm", "h4"]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/node \w+ is not down and can't be removed/);
    await docker("node", "rm", "--force", "h4");
    expect(
      (await lab.nodes("h1")).map(({ Description }) => Description.Hostname).toSorted(),
    ).toEqual(["h1", "h2", "h3"]);
    expect(await placesOf("stay", 4)).not.toContain("h4");
    await until(
      "nothing of the swarm runs on it",
      async () => (await containersOn("h4", "stay")).length === 0,
    );
    await until("it says what happened", async () => {
      const { Swarm } = await lab.get<{ Swarm: { Error: string } }>("h4", "/info");
      return Swarm.Error.includes("was removed from swarm");
    });
    // It may come back, as a new node.
    await lab.docker("h4", "swarm", "leave", "--force");
    const token = await docker("swarm", "join-token", "-q", "worker");
    await lab.docker("h4", "swarm", "join", "--token", token, `${lab.address("h1")}:2377`);
    await until("it is ready", async () => (await lab.node("h1", "h4")).Status.State === "ready");
    await docker("node", "update", "--availability=drain", "h4");
  });

  test("a node that leaves is down, and can be removed", async () => {
    await lab.docker("h3", "swarm", "leave");
    await until("h3 is down", async () => (await lab.node("h1", "h3")).Status.State === "down");
    await until("nothing is counted there any more", async () => {
      return new Set(await placesOf("stay", 4)).size === 2;
    });
    await docker("node", "rm", "h3");
    expect(await containersOn("h3", "stay")).toEqual([]);
    await docker("service", "rm", "stay");
  });
});

test("workers refuse what is a manager's to answer", async () => {
  expect(await refusalOf("h2")).toContain(WORKER_REFUSAL);
});
