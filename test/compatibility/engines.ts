/** Our engine and dockerd 20.10, each on a host of its own, with the same image. */

import { writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { openDockerd } from "../../bench/lib/dockerd.ts";
import type { Engine } from "../../bench/lib/engine.ts";
import type { Host } from "../../bench/lib/host.ts";
import { SkepEngine } from "../../bench/lib/skep.ts";
import { busyboxLayer, dockerArchive, makeImage, makeTar } from "../images/fixtures.ts";
import { send } from "./call.ts";
import type { Names } from "./compare.ts";
import { IMAGE } from "./requests.ts";

export interface Side {
  readonly engine: Engine;
  /** What the engine has named itself, for requests and for the comparison. */
  readonly saved: Map<string, string>;
  names(): Names;
}

export interface Pair {
  readonly ours: Side;
  readonly theirs: Side;
  close(): Promise<void>;
}

/** A text says why dockerd cannot run here. */
export async function openPair(): Promise<Pair | string> {
  const theirs = await openDockerd();
  if (typeof theirs === "string") return theirs;
  const ours = new SkepEngine();
  const close = async () => {
    await Promise.all([ours.host.destroy(), theirs.host.destroy()]);
  };
  try {
    await ours.start();
    const archive = await imageArchive();
    for (const { socket } of [ours, theirs]) {
      await send(socket, { method: "POST", path: "/images/load?quiet=1", raw: archive });
    }
    for (const { host } of [ours, theirs]) startRegistry(host);
  } catch (error) {
    await close();
    throw error;
  }
  return { ours: sideOf(ours, "d"), theirs: sideOf(theirs, "data"), close };
}

/** In the engine's own network, where every engine may speak plain HTTP to it. */
function startRegistry(host: Host): void {
  const config = join(host.folder, "registry.yml");
  const lines = [
    "version: 0.1",
    "log: { level: error }",
    `storage: { filesystem: { rootdirectory: ${join(host.folder, "registry")} } }`,
    'http: { addr: "127.0.0.1:5000" }',
  ];
  writeFileSync(config, `${lines.join("\n")}\n`);
  host.spawn(["docker-registry", "serve", config], "registry.log");
}

function sideOf(engine: Engine, dataFolder: string): Side {
  const saved = new Map<string, string>();
  const { folder, cgroup } = engine.host;
  return {
    engine,
    saved,
    names: () =>
      new Map([
        [join(folder, dataFolder), "DATA"],
        [folder, "ROOT"],
        [cgroup, "GROUP"],
        [basename(folder), "HOST"],
        ...[...saved]
          .filter(([, value]) => value !== "")
          .map(([name, value]) => [value, `{{${name}}}`] as const),
      ]),
  };
}

const APPLETS =
  "cat echo false head httpd id ls mkdir mount ps rm sleep stty touch true tty env wget";

/** Puts the tests' image into an engine that runs. */
export async function loadImage({ socket }: Pick<Engine, "socket">): Promise<void> {
  const raw = await imageArchive();
  await send(socket, { method: "POST", path: "/images/load?quiet=1", raw });
}

export async function imageArchive(): Promise<Buffer> {
  const links = await makeTar(
    APPLETS.split(" ").map((name) => ({
      name: `bin/${name}`,
      type: "symlink",
      linkname: "busybox",
    })),
  );
  const files = await makeTar([
    { name: "etc/passwd", content: "root:x:0:0:root:/root:/bin/sh\nann:x:1000:100::/:/bin/sh\n" },
    { name: "etc/group", content: "root:x:0:\nusers:x:100:\n" },
    { name: "data/", type: "directory", mode: 0o750 },
    { name: "data/seed", content: "from the image\n" },
  ]);
  const image = makeImage([await busyboxLayer(), links, files], {
    Cmd: ["/bin/sh"],
    Env: ["PATH=/bin"],
    Labels: { made: "here" },
    ExposedPorts: { "80/tcp": {} },
  });
  return dockerArchive([{ image, tags: [IMAGE] }]);
}
