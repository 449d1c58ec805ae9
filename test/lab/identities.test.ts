/**
 * Identities change all the time under a workload: five engines whose certificates live two minutes serve
 * a steady load through their mesh, while roots and tokens are rotated, managers are demoted, promoted and
 * restarted, workers are restarted, and a sixth host comes and goes. No request of the workload fails, and
 * none to the API of a manager that is there. One round of all that; `SKEP_TEST_MINUTES=30` goes on.
 * Then a root is exchanged whose leaders are killed on the way.
 */

import { readFile } from "node:fs/promises";
import { request } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { swarmPaths } from "#daemon/swarm-node/paths.ts";
import { normalizePem, readCertificate, verifyChain } from "#platform/x509/certificate.ts";
import { clusterOf, shortenCertificates, TestCluster } from "../identity/fixtures.ts";
import { Lab, SKEP, until } from "./lab.ts";
import { PROBE, probeService, startTraffic, type Traffic } from "./traffic.ts";

const MINUTES = Number(process.env["SKEP_TEST_MINUTES"] ?? 0);
const RATE = Number(process.env["SKEP_LOAD_RATE"] ?? 100);
const MANAGERS = ["h1", "h2", "h3"] as const;
const HOSTS = [...MANAGERS, "h4", "h5"];
const GUEST = "h6";
const REPLICAS = 10;
const PORT = 8080;
const LIFETIME_MS = 120_000;
const ASKERS = 2;
const ASK_PAUSE_MS = 25;
const ASK_TIMEOUT_MS = 20_000;
/**
 * What a swarm that found no leader in time may say: with nothing but this on the machine that does not
 * happen, and the whole proof is run so.
 */
const LEADERLESS =
  /does not (have a leader|lead yet|reach the leader)|have not elected a leader|between two leaders|may or may not have|is not known/;
const STRICT = MINUTES > 0;
/** How an engine that is not there, or a node that does not manage at this moment, may refuse. */
const GONE = /^(ECONNREFUSED|ENOENT|503)/;

let lab: Lab;
let load: Traffic;
/** Managers that are being restarted or demoted, or that are not yet back. */
const away = new Set<string>();
const failures: string[] = [];
const done: Record<string, number> = {};

beforeAll(async () => {
  lab = await Lab.up({ hosts: HOSTS.length + 1, swarm: false });
  await foundSwarm();
  await lab.loadImage([...HOSTS, GUEST], PROBE);
  const spec = probeService("web", REPLICAS, PORT);
  expect(await lab.http("h1", "POST", "/services/create", spec)).toMatchObject({ status: 201 });
  await until("the service runs", async () => {
    return (await lab.running("h1", "web")).length === REPLICAS;
  });
  load = await startTraffic(
    RATE,
    HOSTS.map((host) => `${lab.address(host)}:${PORT}`),
  );
}, 180_000);

afterAll(async () => {
  const result = await load?.stop();
  await lab?.down();
  process.stderr.write(`${JSON.stringify({ ...result, ...done })}\n`);
  expect(result?.failures).toEqual([]);
}, 120_000);

/** By a manager in this process, which sets how long certificates live and leaves before there is work. */
async function foundSwarm(): Promise<void> {
  const gateway = lab.address("h1").replace(/\d+$/, "254");
  const founders = new TestCluster(undefined, gateway);
  try {
    const founder = await founders.node("founder");
    await founder.init();
    await shortenCertificates(founder, LIFETIME_MS);
    const { manager, worker } = await clusterOf(founder);
    for (const host of HOSTS) {
      await join(host, founder.address, MANAGERS.some((name) => name === host) ? manager : worker);
    }
    const nodeId = founder.swarm.localNodeId();
    await operate("h1", "node", "demote", nodeId);
    await until("the founder manages no more", async () => !founder.swarm.info().controlAvailable);
    await founder.swarm.leave(true);
    await operate("h1", "node", "rm", "--force", nodeId);
  } finally {
    await founders.close();
  }
}

async function join(host: string, remote: string, JoinToken: string): Promise<void> {
  const address = lab.address(host);
  const body = { ListenAddr: address, AdvertiseAddr: address, RemoteAddrs: [remote], JoinToken };
  const { status, text } = await lab.http(host, "POST", "/swarm/join", body);
  if (status !== 200) throw new Error(`${host} did not join: ${status} ${text}`);
}

/** What an operator does, once more where the swarm has changed between a read and the write. */
async function operate(host: string, ...words: readonly string[]): Promise<string> {
  return until(words.join(" "), async () => ({ said: await lab.docker(host, ...words) })).then(
    ({ said }) => said,
  );
}

const present = () => MANAGERS.filter((host) => !away.has(host));
const any = () => {
  const list = present();
  return list[Math.floor(Math.random() * list.length)] ?? "";
};

interface Asked {
  readonly status: number;
  readonly text: string;
}

/** Over a connection of its own: one that is kept may be closed while a request is on its way. */
function ask(host: string, method: string, path: string, body?: unknown): Promise<Asked> {
  return new Promise((resolve, reject) => {
    const headers = { "Content-Type": "application/json" };
    const signal = AbortSignal.timeout(ASK_TIMEOUT_MS);
    const options = { socketPath: lab.socket(host), method, path, headers, signal, agent: false };
    const sent = request(options, (response) => {
      let text = "";
      response.on("data", (chunk) => (text += String(chunk)));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
      response.on("error", reject);
    });
    sent.on("error", reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** The answer, unless it is what only an engine that is away may give; that is undefined. */
async function judged(
  host: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<string | undefined> {
  let wasAway = away.has(host);
  const begunMs = performance.now();
  let problem: string;
  try {
    const { status, text } = await ask(host, method, path, body);
    count("API requests");
    slowest("API request", begunMs);
    if (status < 300) return text;
    problem = `${status} ${text.trim()}`;
  } catch (error) {
    problem = (error as NodeJS.ErrnoException).code ?? String(error);
  }
  wasAway ||= away.has(host);
  if (wasAway && GONE.test(problem)) {
    count("asked who was away");
    return undefined;
  }
  if (!STRICT && LEADERLESS.test(problem)) {
    count("found no leader in time");
    return undefined;
  }
  const when = new Date().toISOString().slice(11, 23);
  const asked = path.replace(/\?.*/, "");
  failures.push(
    `${when} ${host}, ${wasAway ? "away" : "there"}, ${[...away].join()} away: ${method} ${asked}: ${problem}`,
  );
  return undefined;
}

/** Reads and writes by every manager, what one wrote taken away by another. */
async function askOnAndOn(client: number, over: AbortSignal): Promise<void> {
  for (let at = 0; !over.aborted; at += 1) {
    // Every fourth asks whoever it may be, also one that goes away at this moment.
    const host = at % 4 === 0 ? (MANAGERS[at % 3] ?? "h1") : any();
    if (at % 3 === 0) {
      const spec = { Name: `c-${client}-${at}`, Data: Buffer.from("x").toString("base64") };
      const made = await judged(host, "POST", "/configs/create", spec);
      if (made !== undefined) {
        const { ID } = JSON.parse(made) as { readonly ID: string };
        // It may be one that goes away; what is left over then does not matter.
        await judged(any(), "DELETE", `/configs/${ID}`);
      }
    } else {
      await judged(host, "GET", at % 3 === 1 ? "/nodes" : "/tasks");
    }
    await new Promise((resolve) => setTimeout(resolve, ASK_PAUSE_MS));
  }
}

function count(what: string): void {
  done[what] = (done[what] ?? 0) + 1;
}

function slowest(what: string, begunMs: number): void {
  const key = `slowest ${what}, ms`;
  done[key] = Math.max(done[key] ?? 0, Math.round(performance.now() - begunMs));
}

async function tokenOf(role: "Worker" | "Manager"): Promise<string> {
  const { JoinTokens } = await lab.get<{ JoinTokens: Record<string, string> }>(any(), "/swarm");
  return JoinTokens[role] ?? "";
}

async function rotateRoot(): Promise<void> {
  const before = await tokenOf("Worker");
  await operate(any(), "swarm", "ca", "--rotate", "-d", "-q");
  await until("another root", async () => (await tokenOf("Worker")) !== before, 120_000);
  count("root rotations");
}

async function guestComesAndGoes(): Promise<void> {
  await operate(any(), "swarm", "join-token", "--rotate", "-q", "worker");
  await operate(any(), "swarm", "join-token", "--rotate", "-q", "manager");
  count("token rotations");
  const begunMs = performance.now();
  await join(GUEST, lab.address(any()), await tokenOf("Worker"));
  slowest("join", begunMs);
  const nodeId = await lab.docker(GUEST, "info", "--format={{.Swarm.NodeID}}");
  await until("the guest is ready", async () => {
    const nodes = await lab.nodes(any());
    return nodes.some(({ ID, Status }) => ID === nodeId && Status.State === "ready");
  });
  await lab.docker(GUEST, "swarm", "leave");
  await operate(any(), "node", "rm", "--force", nodeId);
  count("joins and departures");
}

async function isManager(host: string): Promise<boolean> {
  const { ManagerStatus } = await lab.node(any(), host);
  const { Swarm } = await lab.get<{ Swarm: { ControlAvailable: boolean } }>(host, "/info");
  return Swarm.ControlAvailable && ManagerStatus?.Reachability === "reachable";
}

async function demoteAndPromote(host: string): Promise<void> {
  away.add(host);
  await operate(any(), "node", "demote", host);
  await until(`${host} manages no more`, async () => {
    const { ManagerStatus, Spec } = await lab.node(any(), host);
    const { Swarm } = await lab.get<{ Swarm: { ControlAvailable: boolean } }>(host, "/info");
    return ManagerStatus === undefined && Spec.Role === "worker" && !Swarm.ControlAvailable;
  });
  await operate(any(), "node", "promote", host);
  await until(`${host} manages again`, () => isManager(host));
  away.delete(host);
  count("demotions and promotions");
}

async function restartManager(host: string): Promise<void> {
  away.add(host);
  await lab.changeProgram(host, SKEP);
  await until(`${host} manages again`, () => isManager(host));
  away.delete(host);
  count("manager restarts");
}

async function restartWorker(host: string): Promise<void> {
  await lab.changeProgram(host, SKEP);
  await until(`${host} is ready`, async () => {
    const { Status } = await lab.node(any(), host);
    return Status.State === "ready";
  });
  count("worker restarts");
}

interface Root {
  readonly RootRotationInProgress: boolean;
  /** The root that is trusted, and who signs: the next one while a rotation goes on. */
  readonly TLSInfo: { readonly TrustRoot: string; readonly CertIssuerPublicKey: string };
}

const rootAt = (host: string) => lab.get<Root>(host, "/swarm");

/** Kills the engine of the leader (-9) and starts it again when another leads. */
async function loseLeader(lost: string): Promise<void> {
  away.add(lost);
  await lab.command("stop-engine", lost);
  await until("another leads", async () => (await lab.leader(any())) !== lost);
  await lab.command("start", lost);
  await until(`${lost} manages again`, () => isManager(lost));
  away.delete(lost);
}

/** Whether the node on the host believes in the root, and can prove itself by it. */
async function trusts(host: string, root: string): Promise<boolean> {
  const { rootCert, nodeCert } = swarmPaths(lab.dataRoot(host));
  if (normalizePem(await readFile(rootCert, "utf8")) !== normalizePem(root)) return false;
  verifyChain(await readFile(nodeCert, "utf8"), root, Date.now());
  return true;
}

test(
  "no request fails while identities change all the time",
  async () => {
    const over = new AbortController();
    const asking = Array.from({ length: ASKERS }, (_, client) => askOnAndOn(client, over.signal));
    const ends = Date.now() + MINUTES * 60_000;
    try {
      for (let at = 0; at === 0 || Date.now() < ends; at += 1) {
        // The leader is demoted in one round, restarted in another.
        const leader = MANAGERS.indexOf((await lab.leader(any())) as "h1");
        await rotateRoot();
        await guestComesAndGoes();
        await demoteAndPromote(MANAGERS[(leader + at) % 3] ?? "h1");
        await restartManager(MANAGERS[(at + 1) % 3] ?? "h2");
        await restartWorker(at % 2 === 0 ? "h4" : "h5");
      }
    } finally {
      over.abort();
      await Promise.all(asking);
    }
    expect(failures).toEqual([]);
    expect(load.failures).toEqual([]);
    expect(done["API requests"]).toBeGreaterThan(100);
    for (const host of HOSTS) {
      const text = await readFile(swarmPaths(lab.dataRoot(host)).nodeCert, "utf8");
      const leftMs = readCertificate(text).notAfterMs - Date.now();
      expect(leftMs).toBeGreaterThan(0);
      expect(leftMs).toBeLessThanOrEqual(LIFETIME_MS);
    }
  },
  (MINUTES + 5) * 60_000,
);

test("a root is exchanged though its leaders are killed on the way", async () => {
  const old = (await rootAt(any())).TLSInfo.TrustRoot;
  const first = await lab.leader(any());
  // Without its certificate the exchange does not end.
  await lab.command("stop-engine", "h5");
  await operate(any(), "swarm", "ca", "--rotate", "-d", "-q");
  const begun = await rootAt(any());
  expect(begun).toMatchObject({ RootRotationInProgress: true, TLSInfo: { TrustRoot: old } });
  const renewed = until("h4 has its certificate of the new root", async () => {
    const { Description } = await lab.node(any(), "h4");
    return Description.TLSInfo.CertIssuerPublicKey === begun.TLSInfo.CertIssuerPublicKey;
  });
  await Promise.all([loseLeader(first), renewed]);
  // It has its certificate, and does not hear of the end from the leader that made it.
  await lab.command("stop-engine", "h4");
  await lab.command("start", "h5");
  const second = await lab.leader(any());
  await until("the new root is the swarm's", async () => {
    return !(await rootAt(any())).RootRotationInProgress;
  });
  await Promise.all([loseLeader(second), lab.command("start", "h4")]);
  const root = (await rootAt(any())).TLSInfo.TrustRoot;
  expect(root).not.toBe(old);
  for (const host of HOSTS) await until(`${host} trusts the new root`, () => trusts(host, root));
  await until("all are ready", async () => {
    const nodes = await lab.nodes(any());
    return nodes.length === HOSTS.length && nodes.every(({ Status }) => Status.State === "ready");
  });
  expect(load.failures).toEqual([]);
}, 300_000);
