/** Other people's clients against our socket: docker-compose 1.29 and dockerode. */

import { execFile } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import Dockerode from "dockerode";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PLAIN_ENV } from "../../bench/lib/host.ts";
import { SkepEngine } from "../../bench/lib/skep.ts";
import { send } from "./call.ts";
import { imageArchive } from "./engines.ts";
import { IMAGE } from "./requests.ts";

const COMPOSE = "/usr/bin/docker-compose";

let engine: SkepEngine;

beforeAll(async () => {
  engine = new SkepEngine();
  await engine.start();
  const raw = await imageArchive();
  await send(engine.socket, { method: "POST", path: "/images/load?quiet=1", raw });
});

afterAll(() => engine?.host.destroy());

const PROJECT = `version: "3.8"
services:
  db:
    image: ${IMAGE}
    init: true
    command: ["sh", "-c", "echo db up; exec sleep 1000"]
    volumes: ["data:/data"]
    healthcheck: { test: ["CMD", "true"], interval: 1s }
  web:
    image: ${IMAGE}
    init: true
    command: ["sh", "-c", "echo page > /page; echo web up; exec httpd -f -p 80 -h /"]
    environment: { MODE: test }
    depends_on: [db]
    networks: { default: { aliases: [site] } }
volumes: { data: {} }
`;

describe.skipIf(!existsSync(COMPOSE))("docker-compose", () => {
  const compose = (...args: string[]) => {
    const cwd = join(engine.host.folder, "proj");
    mkdirSync(cwd, { recursive: true });
    writeFileSync(join(cwd, "docker-compose.yml"), PROJECT);
    const env = { ...PLAIN_ENV, DOCKER_HOST: `unix://${engine.socket}`, HOME: cwd };
    return new Promise<string>((resolve, reject) => {
      const child = execFile(
        COMPOSE,
        ["--ansi", "never", ...args],
        { cwd, env },
        (error, out, err) => {
          if (error === null) resolve(out);
          else reject(new Error(`${args.join(" ")}: ${out}${err}`));
        },
      );
      child.stdin?.end();
    });
  };
  const ids = async () => (await compose("ps", "-q")).split("\n").filter((id) => id !== "").length;

  test("up, ps, logs, exec, run, scale, restart, stop, start, pause, kill, rm, down", async () => {
    await compose("up", "-d");
    expect(await compose("ps")).toMatch(/proj_db_1 .* Up[^]*proj_web_1 .* Up/);
    expect((await compose("logs", "--no-color")).split("\n").map((line) => line.trim())).toEqual(
      expect.arrayContaining([expect.stringMatching(/db up$/), expect.stringMatching(/web up$/)]),
    );
    expect(await compose("exec", "-T", "web", "sh", "-c", "echo $MODE")).toBe("test\n");
    const page = await compose(
      "run",
      "--rm",
      "-T",
      "web",
      "wget",
      "-q",
      "-O",
      "-",
      "http://site/page",
    );
    expect(page).toContain("page\n");
    await compose("up", "-d", "--scale", "web=2");
    expect(await ids()).toBe(3);
    await compose("restart", "-t", "0", "web");
    await compose("pause", "web");
    await compose("unpause", "web");
    expect(await compose("top", "web")).toContain("httpd -f -p 80");
    await compose("stop", "-t", "0");
    await compose("start");
    // Nothing has changed: nothing is made anew.
    const before = await compose("ps", "-q", "db");
    await compose("up", "-d", "--scale", "web=2");
    expect(await compose("ps", "-q", "db")).toBe(before);
    await compose("kill");
    await compose("rm", "-f");
    await compose("down", "-v");
    expect(await ids()).toBe(0);
    const volumes = await send(engine.socket, { method: "GET", path: "/volumes" });
    expect(JSON.parse(volumes.body.toString())).toMatchObject({ Volumes: [] });
  });
});

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
