/**
 * A whole cluster for a test file: a lab of its own name, driven as users drive it, through the lab's
 * commands and the docker command lines. `down` leaves nothing, also when a test failed.
 */

import { execFile, execFileSync, spawn } from "node:child_process";
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Service, ServiceSpec } from "#wire/docker/services.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const SKEP = join(ROOT, "bin/skep");
/** Both command lines that users have: Debian's 20.10 and, where there is one, a newer. */
export const DOCKERS = ["/usr/bin/docker", "/usr/local/bin/docker"].filter((path) =>
  existsSync(path),
);
export const IMAGE = "web:demo";
const DEMO: Image = { name: IMAGE, script: "tools/demo-image/make.sh", command: ["serve"] };
const POLL_MS = 50;
const REQUEST_TIMEOUT_MS = 30_000;
/** Not a promise, but the end of patience: machines that run tests are busy. */
const UNTIL_MS = 60_000;
/** Of each engine's log, for a test that failed. */
const LOG_LINES = 200;

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How an image is made: a script that prints its root file system as tar. */
export interface Image {
  readonly name: string;
  /** From the project's folder. */
  readonly script: string;
  readonly command: readonly string[];
}

export interface LabOptions {
  readonly name?: string;
  readonly hosts: number;
  readonly managers?: number;
  readonly swarm?: boolean;
  readonly engineFlags?: readonly string[];
  /** The `bin/skep` whose engines run; this tree's if not said otherwise. */
  readonly program?: string;
}

/** What tests read of a task; the API's own names. */
export interface Task {
  readonly ID: string;
  readonly ServiceID: string;
  readonly NodeID?: string;
  readonly Slot?: number;
  readonly DesiredState: string;
  readonly Spec: { readonly ContainerSpec?: { readonly Image: string; readonly Env?: string[] } };
  readonly Status: {
    readonly State: string;
    readonly Err?: string;
    readonly Message?: string;
    readonly Timestamp: string;
    readonly ContainerStatus?: { readonly ContainerID: string; readonly PID: number };
  };
}

export interface Node {
  readonly ID: string;
  readonly Version: { readonly Index: number };
  readonly Spec: { readonly Role: string; readonly Availability: string };
  readonly Description: {
    readonly Hostname: string;
    readonly TLSInfo: { readonly CertIssuerPublicKey?: string };
  };
  readonly Status: { readonly State: string; readonly Addr: string };
  readonly ManagerStatus?: { readonly Leader?: boolean; readonly Reachability: string };
}

export interface Answer {
  readonly status: number;
  readonly text: string;
}

export interface Following {
  /** What it has printed so far, both streams. */
  said(): string;
  stop(): Promise<void>;
}

export class Lab {
  readonly name: string;
  readonly folder = mkdtempSync(join(tmpdir(), "skep-lab-test-"));
  #addresses: ReadonlyMap<string, string> = new Map();
  #turn = 0;

  constructor(name = `test-${process.pid}`) {
    this.name = name;
  }

  static async up(options: LabOptions): Promise<Lab> {
    const lab = new Lab(options.name);
    const { hosts, managers = hosts } = options;
    const words = [`--hosts=${hosts}`, `--managers=${managers}`];
    if (options.swarm === false) words.push("--no-swarm");
    words.push(...(options.engineFlags ?? []).map((flag) => `--engine-flag=${flag}`));
    await lab.#commandOf(options.program ?? SKEP, "up", words);
    const listed = await lab.command("ls", "--format={{.Name}} {{.Address}}");
    lab.#addresses = new Map(
      listed
        .trim()
        .split("\n")
        .map((line) => line.split(" ") as [string, string]),
    );
    return lab;
  }

  async down(): Promise<void> {
    await this.command("down");
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** `skep lab VERB --name … ARGS`; throws when it fails. */
  command(verb: string, ...args: readonly string[]): Promise<string> {
    return this.#commandOf(SKEP, verb, args);
  }

  /** Ends a host's engine as an upgrade does, and starts that of another program on what it left. */
  async changeProgram(host: string, skep: string): Promise<void> {
    const pid = Number(readFileSync(`/run/skep-lab/${this.name}/${host}/skep.pid`, "utf8"));
    process.kill(pid, "SIGTERM");
    await until(`the engine of ${host} ends`, async () => !isRunning(pid));
    await this.#commandOf(skep, "start", [host]);
  }

  async #commandOf(skep: string, verb: string, args: readonly string[]): Promise<string> {
    const words = [skep, "lab", verb, `--name=${this.name}`, ...args];
    return succeeded(await run(process.execPath, words, {}));
  }

  /** Whether the lab holds this number of the labs' networks. */
  claims(number: string): boolean {
    return readlinkSync(join("/run/skep-lab/.networks", number)) === this.name;
  }

  socket(host: string): string {
    return `/run/skep-lab/${this.name}/${host}/skep.sock`;
  }

  dataRoot(host: string): string {
    return `/var/lib/skep-lab/${this.name}/${host}`;
  }

  /** The host's address in the lab. */
  address(host: string): string {
    const found = this.#addresses.get(host);
    if (found === undefined) throw new Error(`no host ${host}`);
    return found;
  }

  /** `docker ARGS` against a host, by every command line in its turn; throws when it fails. */
  async docker(host: string, ...args: readonly string[]): Promise<string> {
    this.#turn += 1;
    const cli = DOCKERS[this.#turn % DOCKERS.length] ?? "docker";
    return succeeded(await this.run(host, cli, args)).trimEnd();
  }

  /** A program against a host's engine, however it ends. */
  run(host: string, program: string, args: readonly string[]): Promise<Finished> {
    return run(program, args, { DOCKER_HOST: `unix://${this.socket(host)}` });
  }

  /** A docker command that goes on until it is stopped. */
  follow(host: string, ...args: readonly string[]): Following {
    const env = { ...process.env, DOCKER_HOST: `unix://${this.socket(host)}` };
    const child = spawn(DOCKERS.at(-1) ?? "docker", args, { env });
    let said = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk) => (said += String(chunk)));
    }
    const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
    return {
      said: () => said,
      stop: () => {
        child.kill();
        return ended;
      },
    };
  }

  skep(host: string, ...args: readonly string[]): Promise<Finished> {
    return this.run(host, process.execPath, [SKEP, ...args]);
  }

  /** An image on every host, the same bytes; the demo's if not said otherwise. */
  async loadImage(hosts: readonly string[], image: Image = DEMO): Promise<void> {
    const [first = "h1", ...others] = hosts;
    const rootfs = join(this.folder, "rootfs.tar");
    const archive = join(this.folder, "image.tar");
    const script = join(ROOT, image.script);
    writeFileSync(rootfs, execFileSync("bash", [script], { maxBuffer: 64 * 1024 * 1024 }));
    const command = `CMD ${JSON.stringify(image.command)}`;
    await this.docker(first, "import", "-c", command, rootfs, image.name);
    await this.docker(first, "save", "-o", archive, image.name);
    await Promise.all(others.map((host) => this.docker(host, "load", "-i", archive)));
  }

  /** One request to a host's engine; rejects when it takes longer than `timeoutMs`. */
  http(
    host: string,
    method: string,
    path: string,
    body?: unknown,
    timeoutMs = REQUEST_TIMEOUT_MS,
  ): Promise<Answer> {
    const text = typeof body === "string" || body === undefined ? body : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const headers = { "Content-Type": "application/json" };
      const signal = AbortSignal.timeout(timeoutMs);
      const options = { socketPath: this.socket(host), method, path, headers, signal };
      const sent = request(options, (response) => {
        let answer = "";
        response.on("data", (chunk) => (answer += String(chunk)));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text: answer }));
        response.on("error", reject);
      });
      sent.on("error", reject);
      sent.end(text);
    });
  }

  async get<T>(host: string, path: string): Promise<T> {
    const { status, text } = await this.http(host, "GET", path);
    if (status !== 200) throw new Error(`GET ${path} on ${host}: ${status} ${text}`);
    return JSON.parse(text) as T;
  }

  tasks(host: string, service?: string): Promise<readonly Task[]> {
    const filters = service === undefined ? {} : { service: { [service]: true } };
    return this.get(host, `/tasks?filters=${encodeURIComponent(JSON.stringify(filters))}`);
  }

  /** The tasks of a service that do run and shall. */
  async running(host: string, service: string): Promise<readonly Task[]> {
    const tasks = await this.tasks(host, service);
    return tasks.filter(
      ({ DesiredState, Status }) => DesiredState === "running" && Status.State === "running",
    );
  }

  nodes(host: string): Promise<readonly Node[]> {
    return this.get(host, "/nodes");
  }

  async node(host: string, hostname: string): Promise<Node> {
    const found = (await this.nodes(host)).find((node) => node.Description.Hostname === hostname);
    if (found === undefined) throw new Error(`no node ${hostname}`);
    return found;
  }

  /** The hostname of the leader, as this host knows it. */
  async leader(host: string): Promise<string> {
    const nodes = await this.nodes(host);
    const found = nodes.find(({ ManagerStatus }) => ManagerStatus?.Leader === true);
    if (found === undefined) throw new Error("no leader");
    return found.Description.Hostname;
  }

  services(host: string): Promise<readonly Service[]> {
    return this.get(host, "/services?status=true");
  }

  service(host: string, name: string): Promise<Service> {
    return this.get(host, `/services/${name}`);
  }

  /** What somebody needs who was not there: for a test that failed, before the lab goes down. */
  async describe(service: string): Promise<string> {
    const [first = "h1"] = this.#addresses.keys();
    const asked = (host: string, ...args: readonly string[]) =>
      this.skep(host, ...args).then(({ stdout, stderr }) => [args.join(" "), stdout + stderr]);
    const parts = [
      await asked(first, "node", "ls"),
      await asked(first, "service", "explain", service),
      await asked(first, "service", "ps", "--no-trunc", service),
      await asked(first, "service", "inspect", service),
    ];
    for (const host of this.#addresses.keys()) {
      parts.push(await asked(host, "ps", "-a", "--no-trunc"));
      const log = readFileSync(`/var/lib/skep-lab/${this.name}/${host}.log`, "utf8");
      parts.push([`the engine's log of ${host}`, log.split("\n").slice(-LOG_LINES).join("\n")]);
    }
    return parts.map(([what, text]) => `--- ${what}\n${text}`).join("\n");
  }

  /** Changes a service's spec at its newest version. */
  async update(
    host: string,
    name: string,
    change: (spec: ServiceSpec) => ServiceSpec,
  ): Promise<Answer> {
    const { ID, Version, Spec } = await this.service(host, name);
    const path = `/services/${ID}/update?version=${Version.Index}`;
    return this.http(host, "POST", path, change(Spec));
  }
}

/** One that has ended and that nobody has asked about yet has no command line any more. */
function isRunning(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8") !== "";
  } catch {
    return false;
  }
}

function run(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<Finished> {
  return new Promise((resolve) => {
    const options = { env: { ...process.env, ...env }, maxBuffer: 64 * 1024 * 1024 };
    execFile(program, args, options, (error, stdout, stderr) => {
      const code = error === null ? 0 : Number(error.code ?? -1);
      const said = error !== null && stderr === "" ? error.message : stderr;
      resolve({ code, stdout, stderr: said });
    });
  });
}

function succeeded({ code, stdout, stderr }: Finished): string {
  if (code !== 0) throw new Error(`exit code ${code}: ${stderr}${stdout}`);
  return stdout;
}

/**
 * Asks until the answer is not undefined or false; an answer that throws (a dead host, no leader)
 * counts as "not yet". On timeout the last reason is in the error.
 */
export async function until<T>(
  what: string,
  ask: () => Promise<T | undefined | false>,
  timeoutMs = UNTIL_MS,
): Promise<T> {
  const begun = performance.now();
  let last: unknown;
  do {
    try {
      const answer = await ask();
      if (answer !== undefined && answer !== false) return answer;
      last = undefined;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  } while (performance.now() - begun < timeoutMs);
  const reason = last instanceof Error ? `: ${last.message}` : "";
  throw new Error(`not within ${timeoutMs} ms: ${what}${reason}`);
}
