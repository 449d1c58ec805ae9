/**
 * Names, addresses and ports that are malformed, taken, overlapping or in use: one docker command line
 * against a real dockerd 20.10 and against ours, word for word. Where a newer Docker says it otherwise
 * than 20.10, or ours says more, the row has both.
 */

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DOCKERS, EngineProcess } from "../engine/engine-process.ts";
import { enterHost, type TestHost } from "./host.ts";
import { makeNetns } from "./scratch.ts";

const DOCKERD = "/usr/sbin/dockerd";
const DOCKER = DOCKERS.at(-1) ?? "docker";
const IMAGE_SCRIPT = fileURLToPath(new URL("../../tools/demo-image/make.sh", import.meta.url));
const IMAGE = "web:demo";

interface Both {
  /** The answers of dockerd and of ours, without what is each one's own. */
  run(args: readonly string[]): Promise<readonly [string, string]>;
  end(): Promise<void>;
}

let both: Both;

/** Each in a network namespace of its own, with the image and the same networks and containers. */
async function startBoth(): Promise<Both> {
  const host: TestHost = enterHost();
  const engine = new EngineProcess();
  const [folder, netns] = [mkdtempSync(join(tmpdir(), "skep-dockerd-")), makeNetns()];
  const socket = join(folder, "docker.sock");
  const roots = ["--data-root", join(folder, "d"), "--exec-root", join(folder, "x")];
  const words = [...roots, "--pidfile", join(folder, "pid"), "-H", `unix://${socket}`];
  netns.run("ip", "link", "set", "lo", "up");
  const dockerd = spawn("nsenter", [`--net=${netns.path}`, DOCKERD, ...words], { stdio: "ignore" });
  const docker = (where: string, args: readonly string[]) =>
    engine.run(DOCKER, ["-H", `unix://${where}`, ...args]);
  const end = async () => {
    const ended = new Promise((resolve) => dockerd.once("exit", resolve));
    dockerd.kill("SIGTERM");
    await ended;
    netns.remove();
    rmSync(folder, { recursive: true, force: true });
    await engine.destroy();
    await host.leave();
  };
  const run = async (args: readonly string[]): Promise<readonly [string, string]> => {
    const answers = await Promise.all([docker(socket, args), docker(engine.socket, args)]);
    const [theirs = "", ours = ""] = answers.map(({ stdout, stderr }) => plain(stderr || stdout));
    return [theirs, ours];
  };
  try {
    await engine.start();
    for (let attempt = 0; (await docker(socket, ["version"])).code !== 0; attempt += 1) {
      if (attempt > 300) throw new Error("dockerd does not answer");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    const archive = join(engine.folder, "web.tar");
    writeFileSync(archive, execFileSync("bash", [IMAGE_SCRIPT], { maxBuffer: 64 * 1024 * 1024 }));
    for (const setting of [
      ["import", archive, IMAGE],
      ["network", "create", "--subnet", "10.50.0.0/24", "base"],
      ["network", "create", "--subnet", "10.51.0.0/30", "--internal", "tiny"],
      ["run", "-d", "--name", "one", "--network", "tiny", "-p", "80:80", IMAGE, "sleep", "1000"],
      ["run", "-d", "--name", "two", "-p", "8080:80", IMAGE, "sleep", "1000"],
    ]) {
      for (const where of [socket, engine.socket]) {
        expect(await docker(where, setting), setting.join(" ")).toMatchObject({ code: 0 });
      }
    }
    return { run, end };
  } catch (error) {
    await end();
    throw error;
  }
}

/** Ids, names that were chosen by chance, and the command line's own advice differ. */
function plain(text: string): string {
  return text
    .replace(/[0-9a-f]{64}|\b[0-9a-f]{12}\b/g, "ID")
    .replace(/Error response from daemon: |docker: |\n*Run 'docker[^\n]*|See 'docker[^\n]*/g, "")
    .replace(/endpoint [a-z]+_[a-z]+/g, "endpoint NAME")
    .trim();
}

const RUN = ["run", "--rm"];
const END = [IMAGE, "true"];
const CREATE = ["network", "create"];

/** Both say the same. */
const SAME: readonly (readonly string[])[] = [
  [...CREATE, "base"],
  [...CREATE, "bridge"],
  [...CREATE, "default"],
  [...CREATE, "-d", "nosuch", "x"],
  [...CREATE, "-d", "host", "x"],
  [...CREATE, "-d", "overlay", "x"],
  [...CREATE, "--ipam-driver", "nosuch", "x"],
  [...CREATE, "--subnet", "10.50.0.0/25", "x"],
  [...CREATE, "--subnet", "10.1.0.0/24", "--subnet", "10.1.0.0/25", "x"],
  [...CREATE, "--subnet", "10.1.0.0/24", "--gateway", "10.2.0.1", "x"],
  [...CREATE, "--gateway", "10.1.0.1", "x"],
  [...CREATE, "--subnet", "10.1.0.0/24", "--ip-range", "10.2.0.0/28", "x"],
  [...CREATE, "--subnet", "10.1.0.0/24", "--aux-address", "a=10.2.0.1", "x"],
  [...CREATE, "-o", "com.docker.network.driver.mtu=abc", "x"],
  [...CREATE, "-o", "com.docker.network.driver.mtu=-5", "x"],
  [...CREATE, "-d", "macvlan", "-o", "parent=lo", "x"],
  [...CREATE, "-d", "macvlan", "-o", "parent=nope", "x"],
  [...CREATE, "-d", "macvlan", "-o", "macvlan_mode=x", "x"],
  ["network", "inspect", "nosuch"],
  ["network", "rm", "nosuch"],
  ["network", "rm", "bridge"],
  ["network", "connect", "nosuch", "one"],
  ["network", "connect", "base", "nosuch"],
  ["network", "connect", "tiny", "one"],
  ["network", "connect", "host", "one"],
  ["network", "disconnect", "base", "one"],
  ["network", "disconnect", "host", "one"],
  [...RUN, "--network", "nosuch", ...END],
  [...RUN, "--network", "tiny", ...END],
  [...RUN, "--network", "base", "--ip", "10.50.0.1", ...END],
  [...RUN, "--network", "base", "--ip", "nonsense", ...END],
  [...RUN, "--network", "base", "--ip6", "10.50.0.9", ...END],
  [...RUN, "--ip", "172.17.0.9", ...END],
  [...RUN, "--network", "base", "--mac-address", "zz", ...END],
  [...RUN, "--network-alias", "a", ...END],
  [...RUN, "--name", "one", ...END],
  [...RUN, "--name", "-x", ...END],
  [...RUN, "-p", "8080:80", ...END],
  [...RUN, "-p", "8080:80", "-p", "8080:81", ...END],
];

/** dockerd 20.10 says the first, ours the second. */
const DIFFERENT: readonly (readonly [readonly string[], string, string])[] = [
  [
    [...CREATE, "-d", "macvlan", "-o", "parent=nope.7", "x"],
    "-o parent interface does was not found on the host: nope",
    "failed to find master interface nope on the Docker host: Link not found",
  ],
  // As Docker says it since 25.
  [
    [...CREATE, "--subnet", "10.1.0.0/33", "x"],
    "Invalid subnet 10.1.0.0/33 : invalid CIDR address: 10.1.0.0/33",
    "invalid network config:\ninvalid subnet 10.1.0.0/33: invalid CIDR block notation",
  ],
  [[...CREATE, ""], "network with name  already exists", "invalid name: name is empty"],
  // As Docker says it since 25, before anything is made.
  [
    [...RUN, "--network", "tiny", "--ip", "10.51.0.9", ...END],
    "Invalid address 10.51.0.9: It does not belong to any of this network's subnets",
    "invalid endpoint settings:\nno configured subnet contains IP address 10.51.0.9",
  ],
  [
    [...RUN, "--network", "tiny", "--ip", "10.51.0.2", ...END],
    "No available addresses on this pool",
    "Address already in use",
  ],
  // Docker names the containers since 28.
  [
    ["network", "rm", "tiny"],
    "error while removing network: network tiny id ID has active endpoints\nexit status 1",
    'error while removing network: network tiny has active endpoints (name:"one" id:"ID")\nexit status 1',
  ],
  [
    [...RUN, "-p", "127.0.0.1:8080:80", ...END],
    "driver failed programming external connectivity on endpoint NAME (ID): Error starting userland proxy: listen tcp4 127.0.0.1:8080: bind: address already in use",
    "driver failed programming external connectivity on endpoint NAME (ID): Bind for 127.0.0.1:8080 failed: port is already allocated",
  ],
  // There is no user-space proxy that could fail, and none that leads IPv6 to IPv4.
  [
    [...RUN, "-p", "192.0.2.200:80:80", ...END],
    "driver failed programming external connectivity on endpoint NAME (ID): Error starting userland proxy: listen tcp4 192.0.2.200:80: bind: cannot assign requested address",
    "driver failed programming external connectivity on endpoint NAME (ID): failed to bind host port for 192.0.2.200:80/tcp: cannot assign requested address",
  ],
  [
    [...RUN, "-p", "[::1]:80:80", ...END],
    "",
    "driver failed programming external connectivity on endpoint NAME (ID): port 80/tcp cannot be published on ::1: the container has no IPv6 address; create its network with --ipv6, or publish on an IPv4 address",
  ],
];

describe.skipIf(!existsSync(DOCKERD))("beside dockerd", () => {
  beforeAll(async () => {
    both = await startBoth();
  });

  afterAll(() => both?.end());

  test.each(SAME.map((args) => [args.join(" "), args] as const))("docker %s", async (_, args) => {
    const [theirs, ours] = await both.run(args);
    expect(theirs).not.toBe("");
    expect(ours).toBe(theirs);
  });

  test.each(DIFFERENT.map(([args, theirs, ours]) => [args.join(" "), args, theirs, ours] as const))(
    "docker %s, in other words",
    async (_, args, theirs, ours) => {
      expect(await both.run(args)).toEqual([theirs, ours]);
    },
  );

  test("nothing of it has left anything behind", async () => {
    const [theirs, ours] = await both.run(["network", "ls", "--format", "{{.Name}}"]);
    expect(ours).toBe(theirs);
    expect(ours.split("\n").sort()).toEqual(["base", "bridge", "host", "none", "tiny"]);
  });
});
