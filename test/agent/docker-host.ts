/**
 * The executor's host services, served by a Docker Engine that was started for the test: an outside
 * judge of the requests that tasks become.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { PassThrough, type Readable } from "node:stream";
import Docker from "dockerode";
import { EngineError, type ErrorCode } from "#base/error.ts";
import type {
  ContainerService,
  EventBus,
  ImageService,
  LogEntry,
  VolumeService,
} from "#engine/ports.ts";
import { sleep } from "#platform/async.ts";
import { realClock } from "#platform/real-ports.ts";
import type { ContainerInspect, ContainerSummary } from "#wire/docker/containers.ts";
import type { EngineEvent } from "#wire/docker/events.ts";

export interface DockerHost {
  readonly docker: Docker;
  readonly containers: ContainerService;
  readonly images: ImageService;
  readonly volumes: VolumeService;
  readonly events: EventBus;
  close(): Promise<void>;
}

const START_MS = 30_000;

export async function startDockerHost(directory: string): Promise<DockerHost> {
  const root = join(directory, "docker");
  await mkdir(root, { recursive: true });
  // Nothing of the machine's own configuration.
  await writeFile(join(root, "daemon.json"), "{}");
  const socketPath = join(root, "docker.sock");
  const daemon = spawn(
    "dockerd",
    [
      `--config-file=${join(root, "daemon.json")}`,
      `--data-root=${join(root, "data")}`,
      `--exec-root=${join(root, "exec")}`,
      `--pidfile=${join(root, "pid")}`,
      `--host=unix://${socketPath}`,
      "--containerd-namespace=skep-agent-test",
      "--containerd-plugins-namespace=skep-agent-test-plugins",
      "--bridge=none",
      "--iptables=false",
      "--ip6tables=false",
      "--storage-driver=vfs",
    ],
    { stdio: "ignore" },
  );
  const docker = new Docker({ socketPath });
  try {
    await answering(docker, daemon);
  } catch (error) {
    daemon.kill("SIGKILL");
    throw error;
  }
  return {
    docker,
    containers: containerService(docker),
    images: imageService(docker),
    volumes: volumeService(docker),
    events: eventBus(docker),
    close: () => stop(docker, daemon, root),
  };
}

async function answering(docker: Docker, daemon: ChildProcess): Promise<void> {
  const deadline = Date.now() + START_MS;
  for (;;) {
    try {
      await docker.ping();
      return;
    } catch (error) {
      if (daemon.exitCode !== null || Date.now() > deadline) throw error;
    }
    await sleep(realClock, 100);
  }
}

async function stop(docker: Docker, daemon: ChildProcess, root: string): Promise<void> {
  for (const { Id } of await docker.listContainers({ all: true })) {
    await docker.getContainer(Id).remove({ force: true, v: true });
  }
  const gone = new Promise((resolve) => daemon.once("exit", resolve));
  daemon.kill("SIGTERM");
  await gone;
  await rm(root, { recursive: true, force: true });
}

const CODES: Readonly<Record<number, ErrorCode>> = {
  304: "not-modified",
  400: "invalid-argument",
  404: "not-found",
  409: "conflict",
};

async function asked<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (thrown) {
    const failure = thrown as { statusCode?: number; json?: { message?: string }; message: string };
    const message = failure.json?.message ?? failure.message;
    throw new EngineError(CODES[failure.statusCode ?? 0] ?? "unknown", message);
  }
}

function containerService(docker: Docker): ContainerService {
  const get = (reference: string) => docker.getContainer(reference);
  return {
    create: async (name, body) => {
      const options = { ...body, ...(name === undefined ? {} : { name }) };
      const { id } = await asked(docker.createContainer(options as Docker.ContainerCreateOptions));
      return { id, warnings: [] };
    },
    start: async (reference) => void (await asked(get(reference).start())),
    stop: async (reference, { timeoutSeconds }) => {
      const options = timeoutSeconds === undefined ? {} : { t: timeoutSeconds };
      await asked(get(reference).stop(options));
    },
    kill: async (reference, signal) => void (await asked(get(reference).kill({ signal }))),
    remove: async (reference, { force = false, volumes = false }) =>
      void (await asked(get(reference).remove({ force, v: volumes }))),
    inspect: async (reference) =>
      (await asked(get(reference).inspect())) as unknown as ContainerInspect,
    list: async ({ all = false, filters }) => {
      const parsed = Object.fromEntries([...filters].map(([key, values]) => [key, [...values]]));
      const rows = await asked(docker.listContainers({ all, filters: parsed }));
      return rows as unknown as ContainerSummary[];
    },
    wait: async (reference, condition, signal) => {
      const waiting = get(reference).wait({
        condition,
        ...(signal === undefined ? {} : { abortSignal: signal }),
      });
      const { StatusCode } = (await asked(waiting)) as { StatusCode: number };
      return { statusCode: StatusCode };
    },
    logs: (reference, { stdout, stderr, tail }) =>
      readLogs(docker, reference, stdout, stderr, tail),
  };
}

async function* readLogs(
  docker: Docker,
  reference: string,
  stdout: boolean,
  stderr: boolean,
  tail: number | undefined,
): AsyncGenerator<LogEntry> {
  const options = { stdout, stderr, timestamps: true, ...(tail === undefined ? {} : { tail }) };
  const all = await asked(docker.getContainer(reference).logs(options));
  const out = new PassThrough();
  docker.modem.demuxStream(PassThrough.from([all]), out, out);
  setImmediate(() => out.end());
  for (const line of (await text(out)).split("\n").filter((entry) => entry !== "")) {
    const at = line.indexOf(" ");
    yield {
      stream: "stdout",
      time: line.slice(0, at),
      line: new TextEncoder().encode(`${line.slice(at + 1)}\n`),
    };
  }
}

async function text(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

function imageService(docker: Docker): ImageService {
  const none = () => Promise.reject(new EngineError("unimplemented", "not needed here"));
  return {
    resolve: async (reference) => {
      const { Id } = await asked(docker.getImage(reference).inspect());
      return { id: Id, config: {}, chainId: "", os: "linux", architecture: "amd64" };
    },
    pull: () => Promise.reject(new EngineError("unavailable", "no registry in this test")),
    inspect: none,
    list: none,
    load: none,
  };
}

function volumeService(docker: Docker): VolumeService {
  const none = () => Promise.reject(new EngineError("unimplemented", "not needed here"));
  return {
    create: async ({ name = "", labels = {} }) =>
      (await asked(docker.createVolume({ Name: name, Labels: { ...labels } }))) as never,
    inspect: none,
    list: none,
    remove: none,
    hold: none,
    mount: none,
    resume: none,
    unmount: none,
    release: none,
  };
}

function eventBus(docker: Docker): EventBus {
  return {
    publish: () => undefined,
    matcher: () => () => true,
    async *subscribe({ filters, signal }) {
      const parsed = Object.fromEntries([...filters].map(([key, values]) => [key, [...values]]));
      const stream = (await docker.getEvents({ filters: parsed, abortSignal: signal })) as Readable;
      for await (const line of createInterface({ input: stream })) {
        yield JSON.parse(line) as EngineEvent;
      }
    },
  };
}
