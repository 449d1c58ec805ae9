/** The whole engine as a worker in a Docker Engine's swarm, which runs its containers there. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DOCKERS, EngineProcess } from "../engine/engine-process.ts";
import { DEMO, DockerEngine, demoRootfs, HAS_DOCKERD } from "./docker-engine.ts";
import { freePort } from "./fixtures.ts";

/** The end of patience on a busy machine. */
const PATIENT = { timeout: 60_000, interval: 200 };

describe.skipIf(!HAS_DOCKERD)("in a Docker Engine's swarm", () => {
  let manager: DockerEngine;
  let worker: EngineProcess;

  beforeEach(async () => {
    manager = await DockerEngine.start();
    worker = new EngineProcess();
    await worker.start();
  });

  afterEach(async () => {
    await worker.skep("swarm", "leave", "--force");
    await worker.destroy();
    await manager.stop();
  });

  async function skep(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await worker.skep(...args);
    if (code !== 0) throw new Error(`${args.join(" ")}: ${stderr}`);
    return stdout.trim();
  }

  test("its tasks get secrets and configs, their logs are read there, it follows a rotation and is drained", async () => {
    const address = `127.0.0.1:${await freePort()}`;
    await manager.docker("swarm", "init", "--listen-addr", address, "--advertise-addr", address);
    const token = await manager.docker("swarm", "join-token", "-q", "worker");
    const listen = [`--listen-addr=127.0.0.1:${await freePort()}`, "--advertise-addr=127.0.0.1"];
    await skep("swarm", "join", `--token=${token}`, ...listen, address);
    const nodeId = await skep("info", "--format", "{{.Swarm.NodeID}}");
    const rootfs = join(worker.folder, "rootfs.tar");
    writeFileSync(rootfs, demoRootfs());
    const [docker = "docker"] = DOCKERS;
    expect(await worker.run(docker, ["import", rootfs, DEMO])).toMatchObject({ code: 0 });
    for (const [kind, text] of [
      ["secret", "hidden"],
      ["config", "shown"],
    ] as const) {
      const file = join(worker.folder, kind);
      writeFileSync(file, text);
      await manager.docker(kind, "create", kind, file);
    }
    const script = "cat /run/secrets/secret /config; echo; exec sleep 1000";
    const options = ["--secret=secret", "--config=config", `--constraint=node.id==${nodeId}`];
    const create = ["service", "create", "-d", "--name=web", "--no-resolve-image", ...options];
    await manager.docker(...create, DEMO, "sh", "-c", script);
    const states = () =>
      manager.docker("service", "ps", "web", "--format", "{{.CurrentState}} {{.Error}}");
    await expect.poll(states, PATIENT).toMatch(/^Running/);
    await expect
      .poll(() => manager.docker("service", "logs", "web"), PATIENT)
      .toMatch("hiddenshown");
    // Its networks do not reach here, nor its mesh: its scheduler knows, and places nothing that needs them.
    const plugins = () =>
      manager.docker("node", "inspect", nodeId, "--format", "{{.Description.Engine.Plugins}}");
    await expect.poll(plugins, PATIENT).not.toContain("overlay");
    await manager.docker("network", "create", "-d", "overlay", "net");
    const here = [`--constraint=node.id==${nodeId}`, "--no-resolve-image", "-d", DEMO];
    await manager.docker("service", "create", "--name=on-net", "--network=net", ...here);
    await manager.docker("service", "create", "--name=published", "--publish=80:80", ...here);
    for (const name of ["on-net", "published"]) {
      const format = ["--no-trunc", "--format", "{{.CurrentState}} {{.Error}}"];
      await expect
        .poll(() => manager.docker("service", "ps", name, ...format), PATIENT)
        .toMatch(/^Pending.*missing plugin on 1 node/);
      await manager.docker("service", "rm", name);
    }
    // Ends when every node has shown a certificate of the new root.
    await manager.docker("swarm", "ca", "--rotate", "-q");
    expect(await states()).toMatch(/^Running/);
    expect(worker.log).not.toMatch("publishing logs failed");
    await manager.docker("node", "update", "--availability=drain", nodeId);
    await expect.poll(states, PATIENT).toMatch(/Shutdown/);
    await expect.poll(() => skep("ps", "-q"), PATIENT).toBe("");
  });
});
