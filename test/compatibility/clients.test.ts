/** Other people's clients against our socket: dockerode and testcontainers. */

import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import Dockerode from "dockerode";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SkepEngine } from "../../bench/lib/skep.ts";
import { send } from "./call.ts";
import { loadImage } from "./engines.ts";
import { IMAGE } from "./requests.ts";

let engine: SkepEngine;

beforeAll(async () => {
  engine = new SkepEngine();
  await engine.start();
  await loadImage(engine);
});

afterAll(() => engine?.host.destroy());

describe("dockerode", () => {
  test("create, attach, start, exec, logs, stats, wait, events, remove", async () => {
    const docker = new Dockerode({ socketPath: engine.socket });
    expect((await docker.ping()).toString()).toBe("OK");
    const events = await docker.getEvents({ filters: { type: ["container"] } });
    const container = await docker.createContainer({
      Image: IMAGE,
      name: "ode",
      Cmd: ["sh", "-c", "echo out; echo err >&2; read x; echo $x; exec sleep 1000"],
      OpenStdin: true,
      HostConfig: { Init: true },
    });
    const stream = await container.attach({
      stream: true,
      stdin: true,
      stdout: true,
      stderr: true,
      hijack: true,
    });
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    docker.modem.demuxStream(stream, stdout, stderr);
    await container.start();
    stream.write("typed\n");
    await new Promise<void>((resolve) => {
      let seen = "";
      stdout.on("data", (chunk) => {
        seen += String(chunk);
        if (seen === "out\ntyped\n") resolve();
      });
    });
    const info: Dockerode.ContainerInspectInfo = await container.inspect();
    expect([info.State.Running, info.Name, info.Config.Cmd.length]).toEqual([true, "/ode", 3]);
    const exec = await container.exec({ Cmd: ["echo", "in"], AttachStdout: true });
    const output = await exec.start({});
    expect((await text(output)).slice(8)).toBe("in\n");
    expect((await exec.inspect()).ExitCode).toBe(0);
    const logs = await container.logs({ stdout: true, stderr: true });
    expect(logs.toString()).toContain("err\n");
    const stats = await container.stats({ stream: false });
    expect(stats.cpu_stats.cpu_usage.total_usage).toBeGreaterThan(0);
    const listed = await docker.listContainers({ filters: { name: ["ode"] } });
    expect(listed.map(({ Id }) => Id)).toEqual([container.id]);
    await container.kill();
    expect(await container.wait()).toMatchObject({ StatusCode: 137 });
    await container.remove();
    const said = await new Promise<string>((resolve) => {
      let all = "";
      events.on("data", (chunk) => {
        all += String(chunk);
        if (all.includes('"destroy"')) resolve(all);
      });
    });
    expect(said).toContain('"exec_die"');
    (events as unknown as { destroy(): void }).destroy();
    await expect(container.inspect()).rejects.toMatchObject({ statusCode: 404 });
  });
});

describe("testcontainers", () => {
  // It clears up itself here; its own helper for that, Ryuk, is an image from the net.
  const settings = () => ({
    DOCKER_HOST: `unix://${engine.socket}`,
    TESTCONTAINERS_RYUK_DISABLED: "true",
    TESTCONTAINERS_HOST_OVERRIDE: "127.0.0.1",
  });

  afterAll(() => {
    for (const name of Object.keys(settings())) delete process.env[name];
  });

  test("a container on a network, its files, a command, its log, its port, its end", async () => {
    Object.assign(process.env, settings());
    const { GenericContainer, Network, Wait } = await import("testcontainers");
    const network = await new Network().start();
    const server = await new GenericContainer(IMAGE)
      .withCommand(["sh", "-c", "echo page up; exec httpd -f -p 80 -h /www"])
      .withCopyContentToContainer([{ content: "page\n", target: "/www/page" }])
      .withEnvironment({ MODE: "test" })
      .withLabels({ a: "b" })
      .withNetwork(network)
      .withNetworkAliases("site")
      .withExposedPorts(80)
      .withHealthCheck({ test: ["CMD", "true"], interval: 1000 })
      .withWaitStrategy(Wait.forAll([Wait.forLogMessage("page up"), Wait.forHealthCheck()]))
      .start();
    try {
      expect(server.getMappedPort(80)).toBeGreaterThan(1024);
      expect(await server.exec(["sh", "-c", "echo $MODE; exit 3"])).toMatchObject({
        output: "test\n",
        exitCode: 3,
      });
      const asker = await new GenericContainer(IMAGE)
        .withCommand(["wget", "-q", "-O", "-", "http://site/page"])
        .withNetwork(network)
        .withWaitStrategy(Wait.forOneShotStartup())
        .start();
      expect(await text(await asker.logs())).toBe("page\n");
      await asker.stop();
      await server.copyContentToContainer([{ content: "later\n", target: "/www/later" }]);
      expect((await server.exec(["cat", "/www/later"])).output).toBe("later\n");
      await server.restart({ timeout: 0 });
      expect((await server.exec(["cat", "/www/later"])).output).toBe("later\n");
      const archive = await server.copyArchiveFromContainer("/www");
      expect(await text(archive)).toContain("later\n");
    } finally {
      // Its own failures show in what is left, and must not hide the one that led here.
      await server.stop({ timeout: 0 }).catch(() => undefined);
      await network.stop();
    }
    const left = await send(engine.socket, { method: "GET", path: "/containers/json?all=1" });
    expect(JSON.parse(left.body.toString())).toEqual([]);
  });
});
