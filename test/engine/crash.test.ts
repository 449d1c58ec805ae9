/**
 * SIGKILL of the engine at random points of what it does with networks, volumes, ports and execs: the next
 * one leaves no interface, folder or snapshot that is nobody's, and everything that it lists is usable.
 */

import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { docker } from "../../bench/lib/engine.ts";
import { SkepEngine } from "../../bench/lib/skep.ts";
import { loadImage } from "../compatibility/engines.ts";
import { IMAGE } from "../compatibility/requests.ts";

const PATIENCE = { timeout: 60_000, interval: 200 };
const ROUNDS = Number(process.env["SKEP_CRASH_ROUNDS"] ?? 1);

let engine: SkepEngine;
const cli = (...args: readonly string[]) => docker(engine, ...args);
const tried = (...args: readonly string[]) => cli(...args).catch((error: unknown) => String(error));
const lines = (text: string) => text.split("\n").filter((line) => line !== "");

beforeAll(async () => {
  engine = new SkepEngine();
  await engine.start();
  await loadImage(engine);
}, 60_000);

afterAll(() => engine?.host.destroy());

/** What each of several clients does until its engine is gone. */
async function work(client: number): Promise<void> {
  const [net, other, volume, name] = [
    `net${client}`,
    `other${client}`,
    `vol${client}`,
    `c${client}`,
  ];
  const image = [IMAGE, "sleep", "1000"];
  await tried("network", "create", net);
  await tried("volume", "create", volume);
  await tried(
    "run",
    "-d",
    "--name",
    name,
    "--network",
    net,
    "-p",
    `80${client}0:80`,
    "-v",
    `${volume}:/v`,
    "-v",
    "/anonymous",
    ...image,
  );
  await tried("network", "create", other);
  await tried("exec", name, "touch", "/v/file");
  await tried("network", "connect", other, name);
  await tried("rename", name, `${name}-new`);
  await tried("network", "disconnect", net, `${name}-new`);
  await tried("update", "--restart=no", "-m", "64m", "--memory-swap", "64m", `${name}-new`);
  await tried("rm", "-fv", `${name}-new`);
  await tried("network", "rm", net, other);
  await tried("volume", "rm", volume);
}

test.each(Array.from({ length: ROUNDS }, (_, round) => round))(
  "round %i",
  async () => {
    const clients = Promise.all([1, 2, 3].map(work));
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 2_500));
    await engine.crash();
    await clients;
    await engine.start();
    await expect.poll(leftovers, PATIENCE).toEqual([]);

    const containers = lines(await cli("ps", "-aq", "--no-trunc"));
    for (const id of containers) {
      await tried("start", id);
      expect(await tried("exec", id, "echo", "on")).toBe("on");
    }
    for (const network of userNetworks(await cli("network", "ls", "--format={{.Name}}"))) {
      expect(await tried("run", "--rm", "--network", network, IMAGE, "echo", "on")).toBe("on");
    }
    for (const volume of lines(await cli("volume", "ls", "-q"))) {
      const flags = ["--network=none", "-v", `${volume}:/v`];
      expect(await tried("run", "--rm", ...flags, IMAGE, "echo", "on")).toBe("on");
    }
    if (containers.length > 0) await cli("rm", "-fv", ...containers);
    const networks = userNetworks(await cli("network", "ls", "--format={{.Name}}"));
    if (networks.length > 0) await cli("network", "rm", ...networks);
    const volumes = lines(await cli("volume", "ls", "-q"));
    if (volumes.length > 0) await cli("volume", "rm", ...volumes);
    await expect.poll(leftovers, PATIENCE).toEqual([]);
  },
  120_000,
);

const userNetworks = (text: string) =>
  lines(text).filter((name) => !["bridge", "host", "none"].includes(name));

/** What is on the host and nobody's, and what somebody lists and is not there. */
async function leftovers(): Promise<readonly string[]> {
  const { folder, runFolder } = engine.host;
  const networks = lines(await cli("network", "ls", "--no-trunc", "-q", "--filter=driver=bridge"));
  const existing = lines(await cli("ps", "-aq", "--no-trunc"));
  const running = lines(await cli("ps", "-q", "--no-trunc"));
  const ends = await Promise.all(
    running.map(async (id) =>
      lines(
        await cli(
          "inspect",
          "-f",
          "{{range .NetworkSettings.Networks}}{{println .MacAddress}}{{end}}",
          id,
        ),
      ),
    ),
  );
  const links = interfaces();
  const address = join(runFolder, "x/containerd/containerd.sock");
  const snapshots = execFileSync("ctr", ["-a", address, "-n", "skep", "snapshots", "ls"], {
    encoding: "utf8",
  });
  const compare = (
    what: string,
    found: number | readonly string[],
    wanted: number | readonly string[],
  ) => {
    const [a, b] = [found, wanted].map((list) =>
      typeof list === "number" ? list : list.toSorted(),
    );
    return JSON.stringify(a) === JSON.stringify(b)
      ? []
      : [`${what}: ${JSON.stringify(a)} for ${JSON.stringify(b)}`];
  };
  return [
    ...compare("bridges", links.filter(({ kind }) => kind === "bridge").length, networks.length),
    ...compare("veths", links.filter(({ kind }) => kind === "veth").length, ends.flat().length),
    ...compare("container folders", names(join(folder, "d/containers")), existing),
    ...compare("streams", names(join(runFolder, "x/io")), running),
    ...compare(
      "attachments",
      names(join(runFolder, "x/networks")),
      running.map((id) => `${id}.json`),
    ),
    ...compare("volumes", names(join(folder, "d/volumes")), lines(await cli("volume", "ls", "-q"))),
    ...compare(
      "snapshots",
      snapshots.split("\n").filter((line) => line.trim().endsWith("Active")).length,
      existing.length,
    ),
  ];
}

/** Made when it is needed first. */
const names = (folder: string) => (existsSync(folder) ? readdirSync(folder) : []);

function interfaces(): readonly { readonly kind: string | undefined }[] {
  const words = ["-n", basename(engine.host.folder), "-json", "-details", "link", "show"];
  const all = JSON.parse(execFileSync("ip", words, { encoding: "utf8" })) as readonly {
    readonly linkinfo?: { readonly info_kind?: string };
  }[];
  return all.map(({ linkinfo }) => ({ kind: linkinfo?.info_kind }));
}
