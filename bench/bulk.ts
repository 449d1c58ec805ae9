/**
 * Bytes in bulk: a container that writes a log as fast as it can, reading that log, and loading an
 * image, on our engine and on Debian's dockerd side by side.
 */

import { execFileSync, spawn } from "node:child_process";
import { createHash, randomFillSync } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openBoth } from "./lib/both.ts";
import { compare, seconds } from "./lib/compare.ts";
import { DOCKER, docker, type Engine } from "./lib/engine.ts";
import { PLAIN_ENV } from "./lib/host.ts";
import { IMAGE } from "./lib/image.ts";
import { undoAll } from "./lib/undo.ts";
import type { Report } from "./report.ts";

const LOG_MIB = 100;
const LINE = "a line of a log, about as long as those that programs write: 0123456789 0123456789";
const LAYERS = 5;
const LAYER_MIB = 100;
const FILE_MIB = 2;
const ROUNDS = 3;

export async function run(report: Report): Promise<void> {
  try {
    const { ours, peer } = await openBoth();
    await logs(report, ours, peer);
    const archive = writeArchive(join(ours.host.folder, "big"));
    const row = { name: `image load, ${LAYERS * LAYER_MIB} MB`, unit: "s", rounds: ROUNDS };
    report(await compare(ours, peer, row, (engine) => load(engine, archive)));
  } finally {
    await undoAll();
  }
}

async function logs(report: Report, ours: Engine, peer: Engine | string): Promise<void> {
  const rounds = { unit: "s", rounds: ROUNDS };
  const writes = { ...rounds, name: `a container writes ${LOG_MIB} MB to its log` };
  report(await compare(ours, peer, writes, (engine) => seconds(() => writeLog(engine))));
  const reads = { ...rounds, name: `docker logs of ${LOG_MIB} MB` };
  const read = (engine: Engine) => seconds(() => discard(engine, "logs", WRITER));
  report(await compare(ours, peer, reads, read));
  const attached = { ...rounds, name: `docker run that prints ${LOG_MIB} MB` };
  report(await compare(ours, peer, attached, (engine) => seconds(() => printMuch(engine))));
}

const WRITER = "writer";
const PRINT = ["sh", "-c", `busybox yes '${LINE}' | busybox head -c ${LOG_MIB}m`];

async function writeLog(engine: Engine): Promise<void> {
  await docker(engine, "rm", "-f", WRITER).catch(() => undefined);
  await docker(engine, "run", "-d", `--name=${WRITER}`, IMAGE, ...PRINT);
  await docker(engine, "wait", WRITER);
}

function printMuch(engine: Engine): Promise<void> {
  return discard(engine, "run", "--rm", IMAGE, ...PRINT);
}

/** Runs docker, and throws away what it prints. */
function discard(engine: Engine, ...args: readonly string[]): Promise<void> {
  const env = { ...PLAIN_ENV, DOCKER_HOST: `unix://${engine.socket}` };
  return new Promise((resolve, reject) => {
    const child = spawn(DOCKER, args, { env, stdio: ["ignore", "ignore", "inherit"] });
    child.on("error", reject);
    child.on("exit", (code) =>
      code === 0 ? resolve() : reject(new Error(`docker ${args[0]} ended with ${code}`)),
    );
  });
}

const BIG = "big:1";

async function load(engine: Engine, archive: string): Promise<number> {
  const took = await seconds(() => docker(engine, "load", "-q", "-i", archive));
  await docker(engine, "rmi", BIG);
  return took;
}

/** As `docker save` of 20.10 writes it: a folder per layer, nothing compressed. */
function writeArchive(folder: string): string {
  const root = join(folder, "root");
  const layers: string[] = [];
  const diffIds: string[] = [];
  for (let number = 0; number < LAYERS; number += 1) {
    const content = join(folder, `content${number}`);
    mkdirSync(content, { recursive: true });
    for (let file = 0; file < LAYER_MIB / FILE_MIB; file += 1) {
      const bytes = randomFillSync(Buffer.allocUnsafe(FILE_MIB << 20));
      writeFileSync(join(content, `file-${number}-${file}`), bytes);
    }
    mkdirSync(join(root, `layer${number}`), { recursive: true });
    const tar = join(root, `layer${number}/layer.tar`);
    execFileSync("tar", ["-C", content, "-cf", tar, "."]);
    rmSync(content, { recursive: true });
    layers.push(`layer${number}/layer.tar`);
    diffIds.push(`sha256:${createHash("sha256").update(readFileSync(tar)).digest("hex")}`);
  }
  const config = {
    architecture: { x64: "amd64" }[process.arch as string] ?? process.arch,
    os: "linux",
    config: {},
    rootfs: { type: "layers", diff_ids: diffIds },
  };
  writeFileSync(join(root, "config.json"), JSON.stringify(config));
  const manifest = [{ Config: "config.json", RepoTags: [BIG], Layers: layers }];
  writeFileSync(join(root, "manifest.json"), JSON.stringify(manifest));
  const archive = join(folder, "big.tar");
  execFileSync("tar", ["-C", root, "-cf", archive, "."]);
  rmSync(root, { recursive: true });
  return archive;
}
