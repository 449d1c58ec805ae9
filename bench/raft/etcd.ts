/** etcd, the peer of the store's benches: one or three processes, driven over a unix socket. */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { UnaryClient } from "#platform/grpc/testing/unary.ts";
import { freePort } from "../../test/identity/fixtures.ts";

const STATUS = "/etcdserverpb.Maintenance/Status";
/** Fields of StatusResponse and of its ResponseHeader. */
const HEADER_FIELD = 1;
const LEADER_FIELD = 4;
const MEMBER_ID_FIELD = 2;

/** Installs Debian's etcd if it is not there; false where that is not possible. */
export function installEtcd(): boolean {
  if (hasEtcd()) return true;
  if (!existsSync("/usr/bin/apt-get") || process.getuid?.() !== 0) return false;
  // Its service is not ours to start.
  const policy = "/usr/sbin/policy-rc.d";
  const isMade = !existsSync(policy);
  if (isMade) writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    spawnSync("apt-get", ["update", "-qq"], { env });
    spawnSync("apt-get", ["install", "-y", "-qq", "--no-install-recommends", "etcd-server"], {
      env,
    });
  } finally {
    if (isMade) rmSync(policy);
  }
  return hasEtcd();
}

function hasEtcd(): boolean {
  return spawnSync("etcd", ["--version"]).status === 0;
}

export class EtcdMember {
  readonly socket: string;
  readonly #cwd: string;
  readonly #dir: string;
  readonly #args: readonly string[];
  #child: ChildProcess | undefined;

  constructor(dir: string, name: string, ports: ReadonlyMap<string, number>) {
    const peerUrl = (port: number | undefined) => `https://127.0.0.1:${port}`;
    this.#cwd = dir;
    this.#dir = join(dir, name);
    // etcd takes the form of a host and port only, as the name of a file where it runs.
    const url = `unix://${name}:1`;
    this.socket = join(dir, `${name}:1`);
    this.#args = [
      `--name=${name}`,
      `--data-dir=${this.#dir}`,
      `--listen-client-urls=${url}`,
      `--advertise-client-urls=${url}`,
      `--listen-peer-urls=${peerUrl(ports.get(name))}`,
      `--initial-advertise-peer-urls=${peerUrl(ports.get(name))}`,
      `--initial-cluster=${[...ports].map(([one, port]) => `${one}=${peerUrl(port)}`).join()}`,
      // Ours has no way to speak in the clear between hosts.
      "--peer-auto-tls",
      "--logger=zap",
      "--log-level=error",
    ];
  }

  start(): void {
    const log = openSync(`${this.#dir}.log`, "a");
    rmSync(this.socket, { force: true });
    const child = spawn("etcd", this.#args, { cwd: this.#cwd, stdio: ["ignore", log, log] });
    this.#child = child;
    // A bench that is interrupted leaves nobody behind.
    const end = () => child.kill("SIGKILL");
    process.once("exit", end);
    child.once("exit", () => process.off("exit", end));
    closeSync(log);
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }
}

/** A group of `count` members, not yet started. */
export async function etcdGroup(dir: string, count: number): Promise<readonly EtcdMember[]> {
  const names = Array.from({ length: count }, (_, n) => `e${n + 1}`);
  const ports = new Map<string, number>();
  for (const name of names) ports.set(name, await freePort());
  return names.map((name) => new EtcdMember(dir, name, ports));
}

/** The socket of the member that leads. */
export async function etcdLeader(
  members: readonly EtcdMember[],
  timeoutMs = 20_000,
): Promise<string> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    for (const { socket } of members) if (await leads(socket)) return socket;
    if (performance.now() > deadline) throw new Error("etcd has no leader");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Asks the member's status: who is it, and whom does it follow. */
async function leads(socket: string): Promise<boolean> {
  const client = new UnaryClient(socket);
  try {
    const { status, body } = await client.call(STATUS, new Uint8Array(0), 2_000);
    if (status !== 0) return false;
    const reader = new BinaryReader(body);
    let self = 0n;
    let leader = 0n;
    while (reader.pos < reader.len) {
      const [number, type] = reader.tag();
      if (number === LEADER_FIELD) leader = BigInt(reader.uint64());
      else if (number === HEADER_FIELD) self = memberId(reader.bytes());
      else reader.skip(type);
    }
    return leader !== 0n && leader === self;
  } finally {
    client.close();
  }
}

function memberId(header: Uint8Array): bigint {
  const reader = new BinaryReader(header);
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    if (number === MEMBER_ID_FIELD) return BigInt(reader.uint64());
    reader.skip(type);
  }
  return 0n;
}
