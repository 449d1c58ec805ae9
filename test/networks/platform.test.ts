import { spawn } from "node:child_process";
import { closeSync, openSync, readlinkSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  ipBatch,
  ipBatchForce,
  ipLinks,
  ipRoutes,
  readSysctl,
  setSysctl,
  writeSysctl,
} from "#platform/net/ip.ts";
import { openNft } from "#platform/net/nft.ts";
import { interfaceIndex, openRouteSocket } from "#platform/net/rtnetlink.ts";
import { closeSocket, holdSocket } from "#platform/net/socket.ts";
import { netnsIdentity, runInNetns } from "#platform/netns/netns.ts";
import {
  addAddress,
  createVeth,
  deleteLink,
  replaceDefaultRoute,
  setBridgePort,
  setLink,
} from "#wire/rtnetlink.ts";
import { makeNetns, type ScratchNetns } from "./scratch.ts";

let netns: ScratchNetns;
const here = () => readlinkSync("/proc/thread-self/ns/net");

beforeAll(() => {
  netns = makeNetns();
});

afterAll(() => {
  netns?.remove();
});

test("runInNetns is there inside, and back after a return and after a throw", () => {
  const home = here();
  expect(runInNetns(netns.path, here)).not.toBe(home);
  expect(here()).toBe(home);
  expect(() =>
    runInNetns(netns.path, () => {
      throw new Error("inside");
    }),
  ).toThrow("inside");
  expect(here()).toBe(home);
  expect(() => runInNetns("/run/netns/nobody", here)).toThrow(/nobody is gone/);
  expect(() => runInNetns("/dev/null", here)).toThrow(/cannot enter the network namespace/);
  expect(() => runInNetns(netns.path, () => Promise.resolve())).toThrow(/must not be async/);
  expect(here()).toBe(home);
  expect(netnsIdentity("/run/netns/nobody")).toBeUndefined();
});

test("ipBatch: links, addresses and routes in the namespace; the failing line is named", async () => {
  await ipBatch(
    ["link add br9 type bridge", "addr add 10.9.0.1/24 dev br9", "link set br9 up"],
    netns.path,
  );
  const bridge = (await ipLinks(netns.path)).find((link) => link.ifname === "br9");
  expect(bridge?.linkinfo?.info_kind).toBe("bridge");
  expect(bridge?.addr_info?.[0]).toMatchObject({ local: "10.9.0.1", prefixlen: 24 });
  expect((await ipRoutes(netns.path)).map((route) => route.dst)).toEqual(["10.9.0.0/24"]);
  await expect(
    ipBatch(["link set br9 mtu 1400", "link set nope up", "link set br9 mtu 1300"], netns.path),
  ).rejects.toThrow(/ip link set nope up: .*Cannot find device "nope"/s);
  await ipBatchForce(["link del nope", "link del br9"], netns.path);
  expect((await ipLinks(netns.path)).map((link) => link.ifname)).toEqual(["lo"]);
});

test("route netlink: a veth pair between two namespaces, addressed, routed and removed", async () => {
  const other = makeNetns();
  const inside = spawn("nsenter", [`--net=${other.path}`, "sleep", "100"]);
  try {
    await ipBatch(["link add br8 type bridge", "link set br8 up"], netns.path);
    await expect
      .poll(() => readlinkSync(`/proc/${inside.pid}/ns/net`))
      .toBe(runInNetns(other.path, here));
    const outside = runInNetns(netns.path, openRouteSocket);
    const pair = { name: "veth8", mtu: 1400, peer: { name: "eth7", mac: "02:42:0a:08:00:02" } };
    const peer = { ...pair.peer, pid: inside.pid ?? 0 };
    const master = runInNetns(netns.path, () => interfaceIndex("br8"));
    await outside.run([
      createVeth({ ...pair, peer }),
      setLink({ name: "veth8", alias: "mine:1", master }),
      setBridgePort({ name: "veth8", hairpin: true, isolated: true }),
      setLink({ name: "veth8", up: true }),
    ]);
    const there = runInNetns(other.path, openRouteSocket);
    const index = runInNetns(other.path, () => interfaceIndex("eth7"));
    await there.run([
      addAddress(index, "10.8.0.2/24"),
      addAddress(index, "fd08::2/64"),
      setLink({ name: "eth7", up: true }),
      replaceDefaultRoute(index, "10.8.0.1"),
      replaceDefaultRoute(index, "fd08::1"),
    ]);
    await there.run([replaceDefaultRoute(index, "10.8.0.9")]);
    const link = (await ipLinks(netns.path)).find(({ ifname }) => ifname === "veth8");
    expect(link).toMatchObject({ master: "br8", ifalias: "mine:1", mtu: 1400 });
    expect(netns.run("bridge", "-d", "link", "show", "dev", "veth8")).toMatch(
      /hairpin on .*isolated on/s,
    );
    const eth = (await ipLinks(other.path)).find(({ ifname }) => ifname === "eth7");
    expect(eth).toMatchObject({ address: "02:42:0a:08:00:02", mtu: 1400 });
    expect(eth?.flags).toContain("LOWER_UP");
    expect(other.run("ip", "-4", "addr", "show", "dev", "eth7")).toContain(
      "10.8.0.2/24 brd 10.8.0.255",
    );
    expect(await ipRoutes(other.path)).toContainEqual(
      expect.objectContaining({ dst: "default", gateway: "10.8.0.9", dev: "eth7" }),
    );
    expect(await ipRoutes(other.path, "-6")).toContainEqual(
      expect.objectContaining({ dst: "default", gateway: "fd08::1" }),
    );
    // No router: all leaves by the interface itself.
    await there.run([replaceDefaultRoute(index, "0.0.0.0"), replaceDefaultRoute(index, "::")]);
    expect(other.run("ip", "-4", "route", "show", "default").trim()).toBe(
      "default dev eth7 scope link",
    );
    expect(other.run("ip", "-6", "route", "show", "default")).toMatch(/^default dev eth7 /m);
    await expect(outside.run([createVeth({ ...pair, peer })])).rejects.toThrow(
      /^ip link add veth8 type veth: EEXIST/,
    );
    await outside.runForce([deleteLink("nobody"), deleteLink("veth8")]);
    await expect(outside.run([deleteLink("veth8")])).rejects.toThrow("ip link del veth8: ENODEV");
    outside.close();
    there.close();
    await expect(outside.run([deleteLink("lo")])).rejects.toThrow("closed");
  } finally {
    inside.kill();
    other.remove();
  }
});

test("sysctls are the namespace's own", async () => {
  setSysctl("net/ipv4/ip_forward", "1", netns.path);
  expect(readSysctl("net/ipv4/ip_forward", netns.path)).toBe("1");
  await writeSysctl("net/ipv4/ip_forward", "0", netns.path);
  expect(readSysctl("net/ipv4/ip_forward", netns.path)).toBe("0");
  setSysctl("net/ipv4/ip_forward", "0", netns.path);
  expect(readSysctl("net/ipv4/ip_forward", netns.path)).toBe("0");
  expect(readSysctl("net/ipv4/no_such_key", netns.path)).toBeUndefined();
});

describe.each([false, true])("nftables, by program: %s", (forceProgram) => {
  test("a script is one transaction in its namespace", async () => {
    const nft = openNft({ netns: netns.path, forceProgram });
    expect(nft.inProcess).toBe(!forceProgram);
    await nft.run("add table ip t\nadd chain ip t c\nadd rule ip t c tcp dport 80 accept\n");
    const kinds = (await nft.list("list table ip t")).map((entry) => Object.keys(entry)[0]);
    expect(kinds).toEqual(["table", "chain", "rule"]);
    await expect(
      nft.run("add rule ip t c tcp dport 81 accept\nadd rule ip t nowhere accept\n"),
    ).rejects.toThrow(/No such file or directory/);
    expect(netns.run("nft", "list", "table", "ip", "t")).not.toContain("81");
    await expect(nft.run("gibberish")).rejects.toThrow(/syntax error/);
    await Promise.all([1, 2, 3, 4].map((n) => nft.run(`add rule ip t c tcp dport ${n} accept`)));
    expect((await nft.list("list table ip t")).length).toBe(7);
    await nft.run("delete table ip t");
    nft.close();
    if (!forceProgram) await expect(nft.run("list ruleset")).rejects.toThrow(/closed/);
  });
});

test("with a thousand open files nftables are still served, and held ports take high numbers", async () => {
  const held = holdSocket({ protocol: "tcp", address: "127.0.0.1", port: 0 });
  expect(held).toBeGreaterThan(1024);
  const files = Array.from({ length: 1100 }, () => openSync("/dev/null", "r"));
  const nft = openNft({ netns: netns.path });
  try {
    // libnftables would end the process.
    expect(nft.inProcess).toBe(false);
    await nft.run("add table inet many");
    expect(await nft.list("list tables")).toContainEqual(
      expect.objectContaining({ table: expect.objectContaining({ name: "many" }) }),
    );
    await nft.run("delete table inet many");
  } finally {
    nft.close();
    for (const file of files) closeSync(file);
    closeSocket(held);
  }
});
