/** A real Docker Engine in one swarm with us: the protocol is SwarmKit's own, in both directions. */

import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { NodeRole, NodeStatus_State } from "#wire/gen/swarmkit/types_pb.js";
import { clusterOf, freePort, nodesOf, TestCluster } from "./fixtures.ts";

const run = promisify(execFile);

/** What dockerd makes on the host when it joins a swarm, and leaves there. */
const GATEWAY_BRIDGE = "docker_gwbridge";

/** dockerd with a root, a socket and a containerd of its own, and no network of its own. */
class DockerEngine {
  readonly #folder: string;
  readonly #hadBridge = existsSync(`/sys/class/net/${GATEWAY_BRIDGE}`);
  readonly #process: ChildProcess;

  private constructor(folder: string, process: ChildProcess) {
    this.#folder = folder;
    this.#process = process;
  }

  static async start(): Promise<DockerEngine> {
    const folder = await mkdtemp(join(tmpdir(), "skep-dockerd-"));
    const settings = [
      ["--data-root", join(folder, "data")],
      ["--exec-root", join(folder, "exec")],
      ["--pidfile", join(folder, "pid")],
      ["--host", `unix://${folder}/docker.sock`],
      ["--bridge=none", "--iptables=false", "--ip-forward=false"],
    ].flat();
    const engine = new DockerEngine(folder, spawn("dockerd", settings, { stdio: "ignore" }));
    const answers = () =>
      engine.docker("version").then(
        () => true,
        () => false,
      );
    await expect.poll(answers, { timeout: 30_000 }).toBe(true);
    return engine;
  }

  async docker(...command: readonly string[]): Promise<string> {
    const { stdout } = await run("docker", [
      "-H",
      `unix://${this.#folder}/docker.sock`,
      ...command,
    ]);
    return stdout.trim();
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill("SIGTERM");
    const late = setTimeout(() => this.#process.kill("SIGKILL"), 15_000);
    await ended;
    clearTimeout(late);
    // It mounts its root on itself, and does not always undo that.
    const mounts = execFileSync("mount", { encoding: "utf8" })
      .split("\n")
      .map((line) => line.split(" ")[2] ?? "")
      .filter((path) => path.startsWith(this.#folder));
    for (const path of mounts.toReversed()) await run("umount", [path]).catch(() => undefined);
    await rm(this.#folder, { recursive: true, force: true });
    if (!this.#hadBridge) await run("ip", ["link", "del", GATEWAY_BRIDGE]).catch(() => undefined);
  }
}

describe.skipIf(!existsSync("/usr/sbin/dockerd"))("with a Docker Engine", () => {
  let cluster: TestCluster;
  let engine: DockerEngine;

  beforeEach(async () => {
    cluster = new TestCluster();
    engine = await DockerEngine.start();
  });

  afterEach(async () => {
    await cluster.close();
    await engine.stop();
  });

  test("it joins our swarm as a worker, is ready, and renews its certificate when we rotate", async () => {
    const manager = await cluster.node("m1");
    await manager.init();
    const { worker: token } = await clusterOf(manager);
    const port = await freePort();
    const listen = ["--listen-addr", `127.0.0.1:${port}`, "--advertise-addr", "127.0.0.1"];
    await engine.docker("swarm", "join", "--token", token, ...listen, manager.address);
    const nodeId = await engine.docker("info", "--format", "{{.Swarm.NodeID}}");
    await expect
      .poll(async () => (await nodesOf(manager)).get(nodeId), { timeout: 10_000 })
      .toMatchObject({ role: NodeRole.WORKER, status: { state: NodeStatus_State.READY } });
    const { cluster: object } = await clusterOf(manager);
    if (object.spec?.caConfig === undefined || object.meta?.version === undefined) {
      throw new Error("no cluster");
    }
    await manager.swarm.control().updateCluster({
      clusterId: object.id,
      clusterVersion: object.meta.version,
      spec: { ...object.spec, caConfig: { ...object.spec.caConfig, forceRotate: 1n } },
    });
    await expect
      .poll(async () => (await clusterOf(manager)).worker, { timeout: 60_000, interval: 200 })
      .not.toBe(token);
    expect(await engine.docker("info", "--format", "{{.Swarm.LocalNodeState}}")).toBe("active");
  });

  test("we join its swarm as a worker", async () => {
    const address = `127.0.0.1:${await freePort()}`;
    const settings = ["--listen-addr", address, "--advertise-addr", address];
    await engine.docker("swarm", "init", ...settings);
    const token = await engine.docker("swarm", "join-token", "-q", "worker");
    const worker = await cluster.node("w1");
    await worker.joinAddress(address, token);
    const { nodeId, state } = worker.swarm.info();
    expect(state).toBe("active");
    const format = "{{.Description.Hostname}} {{.Status.State}} {{.Spec.Role}}";
    expect(await engine.docker("node", "inspect", nodeId, "--format", format)).toBe(
      "w1 ready worker",
    );
    await engine.docker("node", "update", "--availability", "drain", nodeId);
    await worker.swarm.leave(false);
    await expect
      .poll(() => engine.docker("node", "inspect", nodeId, "--format", "{{.Status.State}}"), {
        timeout: 30_000,
      })
      .toBe("down");
  });
});
