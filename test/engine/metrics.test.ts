/** `--metrics-addr` of the real engine: what a Prometheus would read, without and within a swarm. */

import { createServer } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DOCKERS, EngineProcess } from "./engine-process.ts";

let engine: EngineProcess;
let address: string;

beforeAll(async () => {
  engine = new EngineProcess();
  await engine.start(["--metrics-addr=127.0.0.1:0"]);
  const [, port] = /"port":(\d+),"msg":"metrics are served"/.exec(engine.log) ?? [];
  address = `http://127.0.0.1:${port}/metrics`;
});

afterAll(() => engine.destroy());

interface Scrape {
  readonly types: ReadonlyMap<string, string>;
  /** By name and labels as they stand in the text. */
  readonly values: ReadonlyMap<string, number>;
}

const SAMPLE =
  /^([a-zA-Z_:][\w:]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)*\})? (NaN|[+-]Inf|-?[\d.]+(?:e[+-]?\d+)?)$/;

/** Reads strictly: each line is one that the format knows, and belongs to the family above it. */
async function scrape(): Promise<Scrape> {
  const answer = await fetch(address);
  expect(answer.status).toBe(200);
  expect(answer.headers.get("content-type")).toContain("version=0.0.4");
  const types = new Map<string, string>();
  const values = new Map<string, number>();
  let family = "";
  for (const line of (await answer.text()).split("\n").slice(0, -1)) {
    const [, name, type] = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line) ?? [];
    if (name !== undefined && type !== undefined) {
      expect(types.has(name), `${name} comes once`).toBe(false);
      types.set(name, type);
      family = name;
      continue;
    }
    if (/^# HELP \S+ \S/.test(line)) continue;
    const sample = SAMPLE.exec(line);
    expect(sample, line).not.toBeNull();
    expect(sample?.[1]?.startsWith(family), line).toBe(true);
    const key = `${sample?.[1]}${sample?.[2] ?? ""}`;
    expect(values.has(key), `${key} comes once`).toBe(false);
    values.set(key, Number(sample?.[3]?.replace("Inf", "Infinity")));
  }
  return { types, values };
}

test("an engine alone: dockerd's names, and those of every process", async () => {
  const { types, values } = await scrape();
  expect(types.get("engine_daemon_container_actions_seconds")).toBe("histogram");
  expect(values.get('engine_daemon_container_states_containers{state="running"}')).toBe(0);
  expect(values.get("engine_daemon_engine_cpus_cpus")).toBeGreaterThan(0);
  expect(values.get("engine_daemon_health_checks_failed_total")).toBe(0);
  expect([...values.keys()].join()).toMatch(
    /engine_daemon_engine_info\{[^}]*graphdriver="overlay2"/,
  );
  expect(values.get("process_resident_memory_bytes")).toBeGreaterThan(1e7);
  expect(values.get("process_open_fds")).toBeGreaterThan(5);
  expect(values.get('skep_event_loop_delay_seconds{percentile="99"}')).toBeGreaterThanOrEqual(0);
  expect(values.get("swarm_node_manager")).toBe(0);
  expect(values.get('skep_swarm_node_state{state="inactive"}')).toBe(1);
});

test("a manager: its store, its log, and the data path of the node", async () => {
  const docker = DOCKERS[0] ?? "docker";
  const init = ["swarm", "init", "--advertise-addr=127.0.0.1", "--listen-addr=127.0.0.1:12399"];
  expect(await engine.run(docker, init)).toMatchObject({ code: 0 });
  await engine.run(docker, ["config", "create", "settings", "/etc/hostname"]);
  const { values } = await scrape();
  expect(values.get("swarm_node_manager")).toBe(1);
  expect(values.get("swarm_manager_leader")).toBe(1);
  expect(values.get('swarm_manager_nodes{state="ready"}')).toBe(1);
  expect(values.get('swarm_manager_tasks_total{state="running"}')).toBe(0);
  expect(values.get("swarm_manager_configs_total")).toBe(1);
  expect(values.get("swarm_raft_transaction_latency_seconds_count")).toBeGreaterThan(1);
  expect(values.get("swarm_store_write_tx_latency_seconds_count")).toBeGreaterThan(1);
  expect(values.get("etcd_disk_wal_fsync_duration_seconds_count")).toBeGreaterThan(1);
  expect(values.get("skep_raft_has_leader")).toBe(1);
  expect(values.get("skep_raft_leader_changes_total")).toBe(1);
  expect(values.get('skep_raft_members{role="voter"}')).toBe(1);
  const applied = values.get("skep_raft_applied_index") ?? 0;
  expect(values.get("skep_raft_committed_index")).toBe(applied);
  expect(values.get("skep_dataplane_revision")).toBeLessThanOrEqual(applied);
  expect(values.get("skep_dataplane_late_nodes")).toBe(0);
  expect(values.get("skep_network_repairs_total")).toBe(0);
  expect([...values.keys()].join()).toMatch(
    /swarm_node_info\{node_id="\w{25}",swarm_id="\w{25}"\}/,
  );
  await engine.run(docker, ["swarm", "leave", "--force"]);
  expect((await scrape()).values.get("swarm_node_manager")).toBe(0);
});

test("nothing else is served, and nothing can be changed", async () => {
  expect((await fetch(address.replace("/metrics", "/info"))).status).toBe(404);
  expect((await fetch(address, { method: "POST", body: "x" })).status).toBe(405);
  expect((await fetch(address, { method: "HEAD" })).status).toBe(200);
});

test("off unless asked for; a taken port ends the start; a public address is warned of", async () => {
  const port = Number(new URL(address).port);
  const taken = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => taken.once("listening", resolve));
  const takenPort = (taken.address() as { port: number }).port;
  await engine.end("SIGTERM");
  await expect(fetch(`http://127.0.0.1:${port}/metrics`)).rejects.toThrow();
  expect(await engine.start([`--metrics-addr=127.0.0.1:${takenPort}`], true)).toBe(1);
  expect(engine.log).toContain("choose another --metrics-addr");
  taken.close();
  expect(await engine.start(["--metrics-addr=9323"], true)).toBe(1);
  expect(engine.log).toContain("invalid metrics-addr 9323: say ADDRESS:PORT");
  expect(engine.log).not.toContain("metrics are served to everybody");
  await engine.start([`--metrics-addr=:${port}`]);
  expect(engine.log).toContain("metrics are served to everybody");
  expect((await scrape()).types.size).toBeGreaterThan(10);
});
