/**
 * `lab down` leaves nothing behind, whatever happened to the lab before: no process, mount, namespace,
 * link, control group, packet rule, socket or folder. And it touches no other lab.
 */

import { execFileSync, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { IMAGE, Lab, SKEP, until } from "./lab.ts";

const NEIGHBOUR = `neighbour-${process.pid}`;
const labs = new Set<Lab>();

afterAll(async () => {
  for (const lab of labs) await lab.down();
});

async function up(...args: Parameters<typeof Lab.up>): Promise<Lab> {
  const lab = await Lab.up(...args);
  labs.add(lab);
  return lab;
}

function entries(folder: string): readonly string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** All on this machine that carries the lab's name, by its sort; `number` is its network's. */
function remains(name: string, number: number | undefined): Readonly<Record<string, unknown>> {
  const mine = (text: string) => text.includes(`/skep-lab/${name}/`);
  const lines = (...words: readonly [string, ...string[]]) =>
    execFileSync(words[0], words.slice(1), { encoding: "utf8" }).split("\n");
  const cgroups = ["", ...entries("/sys/fs/cgroup")].map((controller) =>
    join("/sys/fs/cgroup", controller, "skep-lab", name),
  );
  const ours = new RegExp(`\\bskep-lab${number ?? "none"}(h\\d+)?\\b`);
  const found = {
    processes: lines("ps", "-eo", "args", "-ww").filter(mine),
    mounts: readFileSync("/proc/self/mounts", "utf8").split("\n").filter(mine),
    namespaces: entries("/run/netns").filter((entry) => entry.startsWith(`skep-lab-${name}-h`)),
    links: lines("ip", "-br", "link").filter((line) => ours.test(line)),
    rules: lines("nft", "list", "tables").filter((line) => ours.test(line)),
    cgroups: cgroups.filter((folder) => existsSync(folder)),
    folders: [`/run/skep-lab/${name}`, `/var/lib/skep-lab/${name}`].filter((folder) =>
      existsSync(folder),
    ),
    claims: entries("/run/skep-lab/.networks").filter((entry) => entry === String(number)),
  };
  return Object.fromEntries(Object.entries(found).filter(([, items]) => items.length > 0));
}

/** Where the shims of a lab listen: a folder that all containerds share. */
function shimSockets(lab: Lab, host: string): readonly string[] {
  const bundles = `/run/skep-lab/${lab.name}/${host}/containerd/io.containerd.runtime.v2.task/skep`;
  return entries(bundles).map((id) =>
    readFileSync(join(bundles, id, "address"), "utf8").replace("unix://", ""),
  );
}

describe("a lab that ran a service, and had its accidents", () => {
  test("engines killed, a host without power, a host cut off: down takes it all", async () => {
    const lab = await up({ hosts: 3, managers: 3 });
    await lab.loadImage(["h1", "h2", "h3"]);
    await lab.docker("h1", "network", "create", "mine");
    const args = [
      "--replicas=6",
      "--mount=type=volume,source=data,target=/data",
      "--publish=8080:80",
    ];
    await lab.docker("h1", "service", "create", "-d", "--name=web", ...args, IMAGE);
    await until("it runs", async () => (await lab.running("h1", "web")).length === 6);
    await lab.docker("h2", "run", "-d", "--pid=host", "--network=host", IMAGE, "sleep", "1000");
    const number = Number(lab.address("h1").split(".")[2]);
    const sockets = ["h1", "h2", "h3"].flatMap((host) => shimSockets(lab, host));
    expect(sockets.every((socket) => existsSync(socket))).toBe(true);
    expect(sockets).toHaveLength(7);
    // What is looked for is what there is: all of it but a claim's absence.
    expect(Object.keys(remains(lab.name, number)).toSorted()).toEqual([
      "cgroups",
      "claims",
      "folders",
      "links",
      "mounts",
      "namespaces",
      "processes",
      "rules",
    ]);

    await lab.command("stop-engine", "h1");
    await lab.command("stop-engine", "h2");
    await lab.command("kill", "h3");
    await lab.command("cut", "h1");
    await lab.down();
    expect(remains(lab.name, number)).toEqual({});
    expect(sockets.filter((socket) => existsSync(socket))).toEqual([]);
    labs.delete(lab);
  });
});

describe("two labs side by side", () => {
  test("have networks of their own, and the end of one is not the other's", async () => {
    const one = await up({ hosts: 1, swarm: false });
    const two = await up({ hosts: 1, swarm: false, name: NEIGHBOUR });
    expect(one.address("h1")).not.toBe(two.address("h1"));
    await one.down();
    labs.delete(one);
    expect((await two.http("h1", "GET", "/_ping")).text).toBe("OK");
    await expect(two.command("up")).rejects.toThrow(/is already up/);
    expect(remains(one.name, Number(one.address("h1").split(".")[2]))).toEqual({});
    await two.down();
    labs.delete(two);
  });
});

test("a dockerd that drops what it does not know lets the lab pass, and keeps no rule of it", () => {
  const name = `walled-${process.pid}`;
  const lab = new Lab(name);
  labs.add(lab);
  // A machine of its own, as dockerd leaves its packet filter: no dockerd is needed for that.
  const script = `
    ip link set lo up
    iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN
    iptables -I FORWARD -j DOCKER-USER; iptables -P FORWARD DROP
    iptables -S >"$1.before"
    "$0" "$2" lab up --name "$3" --hosts 2 --managers 1 >"$1.up"
    "$0" "$2" lab down --name "$3"
    iptables -S >"$1.after"; ip -br link >"$1.links"`;
  const files = join(lab.folder, "walled");
  const words = ["--net", "sh", "-ec", script, process.execPath, files, SKEP, name];
  execFileSync("unshare", words, { stdio: ["ignore", "ignore", "inherit"] });
  const read = (suffix: string) => readFileSync(`${files}.${suffix}`, "utf8");
  expect(read("up")).toContain("a swarm of 1 managers and 1 workers");
  expect(read("after")).toBe(read("before"));
  expect(read("links")).not.toContain("skep-lab");
});

describe("`lab up` killed half-way", () => {
  test.each([50, 120, 200, 400, 800, 1600])("after %i ms", async (delayMs) => {
    const lab = new Lab();
    labs.add(lab);
    const child = spawn(process.execPath, [SKEP, "lab", "up", `--name=${lab.name}`], {
      stdio: "ignore",
    });
    const ended = new Promise((resolve) => child.once("exit", resolve));
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    child.kill("SIGKILL");
    await ended;
    const number = entries("/run/skep-lab/.networks").find((entry) => lab.claims(entry));
    await lab.down();
    labs.delete(lab);
    expect(remains(lab.name, number === undefined ? undefined : Number(number))).toEqual({});
  });
});

test("down of a lab that is not there says so, and is no failure", async () => {
  const lab = new Lab("nosuch");
  labs.add(lab);
  expect(await lab.command("down")).toContain("no lab nosuch was up");
});
