/**
 * A host that loses its power while it serves: the others find that out by themselves, seconds before
 * managers miss its heartbeat, and lead traffic to tasks that are there. A host that is cut off serves
 * what it has, and is led to again when it has been back for a while.
 */

import { afterAll, beforeAll, expect, test } from "vitest";
import { Lab, until } from "./lab.ts";
import { PROBE, probeService, startTraffic } from "./traffic.ts";

const HOSTS = ["h1", "h2", "h3", "h4", "h5"];
const PORT = 8080;
const RATE = 100;
/** Requests that a host may have taken and not answered when its power went. */
const ON_THEIR_WAY = 5;

let lab: Lab;

beforeAll(async () => {
  lab = await Lab.up({ hosts: HOSTS.length, managers: 1 });
  await lab.loadImage(HOSTS, PROBE);
  // Long: whatever happens in less is the nodes' own doing.
  await lab.docker("h1", "swarm", "update", "--dispatcher-heartbeat=60s");
  const spec = probeService("web", 10, PORT);
  expect(await lab.http("h1", "POST", "/services/create", spec)).toMatchObject({ status: 201 });
  await until("10 tasks run", async () => (await lab.running("h1", "web")).length === 10);
});

afterAll(() => lab.down());

/** Hosts that traffic by this one goes to, by what its kernel holds. */
async function ledTo(host: string): Promise<readonly string[]> {
  const words = ["nft", "list", "chain", "inet", "skep_overlay", `port_tcp_${PORT}`];
  const rules = await lab.command("exec", host, "--", ...words);
  const addresses = [...rules.matchAll(/\d+ : (\d+\.\d+\.\d+\.\d+)/g)].map(([, one]) => one);
  const tasks = await lab.get<readonly Attached[]>("h1", "/tasks");
  const nodes = await lab.nodes("h1");
  const found = tasks
    .filter(({ NetworksAttachments = [] }) =>
      NetworksAttachments.some(({ Addresses = [] }) =>
        Addresses.some((address) => addresses.includes(address.split("/")[0])),
      ),
    )
    .map(({ NodeID }) => nodes.find(({ ID }) => ID === NodeID)?.Description.Hostname ?? "");
  return [...new Set(found)].toSorted();
}

interface Attached {
  readonly NodeID?: string;
  readonly NetworksAttachments?: readonly { readonly Addresses?: readonly string[] }[];
}

const without = (...hosts: readonly string[]) => HOSTS.filter((host) => !hosts.includes(host));

test("without power: found silent by all, and no request is lost but those that it had", async () => {
  const others = without("h5");
  await until("all answer", async () => (await ledTo("h2")).length === HOSTS.length);
  const traffic = await startTraffic(
    RATE,
    others.map((host) => `${lab.address(host)}:${PORT}`),
  );
  await lab.command("kill", "h5");
  const begunMs = performance.now();
  for (const host of others) {
    await until(`${host} leads elsewhere`, async () => !(await ledTo(host)).includes("h5"));
  }
  console.info(`found silent by all within ${Math.round(performance.now() - begunMs)} ms`);
  const node = await lab.node("h1", "h5");
  expect(node.Status.State, "managers have not missed it yet").toBe("ready");
  const { answered, failures } = await traffic.stop();
  expect(failures.length, failures.join("\n")).toBeLessThanOrEqual(ON_THEIR_WAY);
  expect(answered).toBeGreaterThan(RATE);
  await lab.command("start", "h5");
  await until("h5 is led to again", async () => (await ledTo("h2")).includes("h5"));
});

test("cut off: it serves what it has, and the others go on without it", async () => {
  await until("all run", async () => (await ledTo("h4")).length === HOSTS.length);
  await lab.command("cut", "h4");
  for (const host of without("h4")) {
    await until(`${host} leads elsewhere`, async () => !(await ledTo(host)).includes("h4"));
  }
  await until("h4 has its own alone", async () => (await ledTo("h4")).join() === "h4");
  await lab.command("heal", "h4");
  for (const host of HOSTS) {
    await until(`${host} leads to all`, async () => (await ledTo(host)).length === HOSTS.length);
  }
});
