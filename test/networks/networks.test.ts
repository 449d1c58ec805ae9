import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { HOST_ADDRESS, OUTSIDE_ADDRESS } from "./host.ts";
import {
  alive,
  container,
  host,
  open,
  publish,
  running,
  sandboxes,
  store,
  useLocalNetworks,
} from "./local.ts";

useLocalNetworks();

describe("networks that users make", () => {
  test("apart from each other, with subnets of their own", async () => {
    const { id } = await store.create({ Name: "blue", Labels: { a: "b" } });
    await store.create({ Name: "green" });
    const [blue, green] = [
      await running("b", [], "blue"),
      await running("g", [publish(80, 8082)], "green"),
    ];
    expect([blue.ip, green.ip]).toEqual(["172.18.0.2", "172.19.0.2"]);
    await host.serve(green.sandbox, 80, "green");
    expect(host.get(blue.sandbox, `http://${green.ip}/`)).toBeUndefined();
    expect(host.get(blue.sandbox, `http://${HOST_ADDRESS}:8082/`)).toBe("green");
    expect(host.run(blue.sandbox, "ping", "-c1", "-W1", OUTSIDE_ADDRESS)).toContain("1 received");
    expect((await store.inspect(id.slice(0, 8))).Name).toBe("blue");
    await expect(store.remove("blue")).rejects.toThrow(
      `error while removing network: network blue has active endpoints`,
    );
    await expect(store.create({ Name: "blue" })).rejects.toThrow(
      "network with name blue already exists",
    );
    await store.detach(blue.sandbox.containerId);
    await store.remove("blue");
    expect(host.run(undefined, "ip", "-o", "link")).not.toContain(`br-${id.slice(0, 12)}`);
    await expect(store.inspect("blue")).rejects.toThrow("network blue not found");
  });

  test("chosen subnets, ranges, addresses, names and MACs", async () => {
    await store.create({
      Name: "fixed",
      IPAM: {
        Config: [
          {
            Subnet: "10.99.0.0/24",
            IPRange: "10.99.0.128/25",
            Gateway: "10.99.0.254",
            AuxiliaryAddresses: { printer: "10.99.0.129" },
          },
        ],
      },
      Options: {
        "com.docker.network.bridge.name": "fixed0",
        "com.docker.network.driver.mtu": "1400",
      },
    });
    const first = await running("first", [], "fixed");
    expect(first.ip).toBe("10.99.0.128");
    expect((await running("second", [], "fixed")).ip).toBe("10.99.0.130");
    const third = await container("third");
    const settings = {
      IPAMConfig: { IPv4Address: "10.99.0.7" },
      MacAddress: "02:00:00:00:00:99",
      Aliases: ["db"],
    };
    await store.resolve({ fixed: settings });
    const { networks } = await store.attach(third, { fixed: settings }, []);
    expect(networks[0]?.endpoint).toMatchObject({
      IPAddress: "10.99.0.7",
      MacAddress: "02:00:00:00:00:99",
      DNSNames: ["third", "db", third.containerId.slice(0, 12)],
    });
    const link = host.run(third, "ip", "-o", "link", "show", "eth0");
    expect(link).toContain("mtu 1400");
    expect(link).toContain("02:00:00:00:00:99");
    const again = await container("again");
    await expect(store.attach(again, { fixed: settings }, [])).rejects.toThrow(
      "Address already in use",
    );
    await expect(
      store.resolve({ fixed: { IPAMConfig: { IPv4Address: "10.98.0.1" } } }),
    ).rejects.toThrow(/no configured subnet contains IP address 10.98.0.1/);
    await expect(
      store.create({ Name: "overlapping", IPAM: { Config: [{ Subnet: "10.99.0.0/16" }] } }),
    ).rejects.toThrow("Pool overlaps with other one on this address space");
  });

  test("internal: neighbours only, whatever is published", async () => {
    await store.create({ Name: "inner", Internal: true });
    const a = await running("a", [publish(80, 8083)], "inner");
    const b = await running("b", [], "inner");
    await host.serve(a.sandbox, 80, "inner");
    expect(host.get(b.sandbox, `http://${a.ip}/`)).toBe("inner");
    expect(host.run(b.sandbox, "ip", "route")).not.toContain("default");
    expect(host.get(host.outside, `http://${HOST_ADDRESS}:8083/`)).toBeUndefined();
    host.run(b.sandbox, "ip", "route", "add", "default", "via", "172.18.0.1");
    expect(() => host.run(b.sandbox, "ping", "-c1", "-W1", OUTSIDE_ADDRESS)).toThrow();
  });

  test("without talk between containers; without masquerading", async () => {
    await store.create({
      Name: "hush",
      Options: {
        "com.docker.network.bridge.enable_icc": "false",
        "com.docker.network.bridge.enable_ip_masquerade": "false",
      },
    });
    const [a, b] = [await running("a", [], "hush"), await running("b", [], "hush")];
    await host.serve(a.sandbox, 80, "hush");
    expect(host.get(b.sandbox, `http://${a.ip}/`)).toBeUndefined();
    expect(host.get(undefined, `http://${a.ip}/`)).toBe("hush");
    expect(host.run(undefined, "nft", "list", "set", "inet", "skep", "masquerade4")).not.toContain(
      "172.18",
    );
  });

  test("IPv6: an own subnet, published on both families", async () => {
    await store.create({
      Name: "six",
      EnableIPv6: true,
      IPAM: { Config: [{ Subnet: "2001:db8:1::/64" }] },
    });
    const { sandbox, result } = await running("v6", [publish(80, 8086)], "six");
    expect(result.networks[0]?.endpoint).toMatchObject({
      GlobalIPv6Address: "2001:db8:1::2",
      IPv6Gateway: "2001:db8:1::1",
    });
    await host.serve(sandbox, 80, "six");
    expect(result.ports["80/tcp"]).toEqual([
      { HostIp: "0.0.0.0", HostPort: "8086" },
      { HostIp: "::", HostPort: "8086" },
    ]);
    const url = "http://[2001:db8::1]:8086/";
    await expect.poll(() => host.get(host.outside, url), { timeout: 5000 }).toBe("six");
    expect(host.get(host.outside, `http://${HOST_ADDRESS}:8086/`)).toBe("six");
    await store.create({ Name: "own", EnableIPv6: true });
    const config = (await store.inspect("own")).IPAM.Config ?? [];
    expect(config[1]?.Subnet).toMatch(/^fd[0-9a-f]{2}:.*\/64$/);
  });

  test.each([
    [{ Name: "" }, "invalid name: name is empty"],
    [{ Name: "host" }, "operation is not permitted on predefined host network"],
    [{ Name: "a b" }, /invalid network name/],
    [{ Name: "x", Driver: "weave" }, 'plugin "weave" not found'],
    [{ Name: "x", Driver: "host" }, 'only one instance of "host" network is allowed'],
    [{ Name: "x", IPAM: { Config: [{ Subnet: "10.0.0.0" }] } }, /invalid subnet/],
    [
      { Name: "x", IPAM: { Config: [{ Gateway: "10.0.0.1" }] } },
      /must have a corresponding subnet/,
    ],
    [
      { Name: "x", IPAM: { Config: [{ Subnet: "10.0.0.0/24", Gateway: "10.0.1.1" }] } },
      /invalid gateway/,
    ],
    [
      { Name: "x", IPAM: { Config: [{ Subnet: "10.0.0.0/24", IPRange: "10.0.0.0/16" }] } },
      /invalid ip-range/,
    ],
    [
      { Name: "x", Options: { "com.docker.network.driver.mtu": "1e3" } },
      'failed to parse com.docker.network.driver.mtu value: 1e3 (strconv.Atoi: parsing "1e3": invalid syntax)',
    ],
    [{ Name: "x", Options: { "com.docker.network.driver.mtu": "-5" } }, "invalid MTU number: -5"],
    [{ Name: "x", Options: { "com.docker.network.bridge.name": "a;b" } }, /invalid interface name/],
    [{ Name: "x", Options: { "com.docker.network.bridge.name": "up0" } }, /up0 exists already/],
  ])("refuses %j", async (body, message) => {
    await expect(store.create(body)).rejects.toThrow(message);
    expect((await store.list(new Map())).length).toBe(3);
  });

  test("several networks at once; connect and disconnect of a running container", async () => {
    for (const Name of ["front", "back", "side"]) await store.create({ Name });
    const sandbox = await container("multi");
    await store.attach(sandbox, { front: {}, back: { GwPriority: 5 } }, []);
    expect(host.run(sandbox, "ip", "route", "show", "default")).toContain("dev eth1");
    const side = { reference: "side", settings: { Aliases: ["m"] } };
    const added = await store.connect(sandbox, side, []);
    expect(added.networks.at(-1)).toMatchObject({
      networkName: "side",
      endpoint: { IPAddress: "172.20.0.2" },
    });
    expect(host.run(sandbox, "ip", "-o", "-4", "addr", "show", "eth2")).toContain("172.20.0.2/16");
    await expect(store.connect(sandbox, side, [])).rejects.toThrow(
      "endpoint with name multi already exists in network side",
    );
    await store.disconnect(sandbox, "back", []);
    expect(host.run(sandbox, "ip", "route", "show", "default")).toContain("dev eth0");
    await expect(store.disconnect(sandbox, "back", [])).rejects.toThrow(
      /is not connected to network/,
    );
    expect(Object.keys((await store.inspect("back")).Containers)).toEqual([]);
  });

  test("list and prune by filters", async () => {
    await store.create({ Name: "p1", Labels: { keep: "no" } });
    await store.create({ Name: "p2" });
    const names = async (filters: Record<string, string[]>) =>
      (await store.list(new Map(Object.entries(filters)))).map(({ Name }) => Name).sort();
    expect(await names({})).toEqual(["bridge", "host", "none", "p1", "p2"]);
    expect(await names({ type: ["custom"] })).toEqual(["p1", "p2"]);
    expect(await names({ driver: ["null"] })).toEqual(["none"]);
    expect(await names({ label: ["keep=no"] })).toEqual(["p1"]);
    expect(await names({ name: ["p"], dangling: ["true"] })).toEqual(["p1", "p2"]);
    await expect(names({ nope: [""] })).rejects.toThrow("invalid filter 'nope'");
    expect(await store.prune(new Map([["label!", ["keep"]]]))).toEqual({ NetworksDeleted: ["p2"] });
  });

  test("link-local addresses besides its own", async () => {
    await store.create({ Name: "linked" });
    const sandbox = await container("local");
    const LinkLocalIPs = ["169.254.7.7", "fe80::77"];
    await store.attach(sandbox, { linked: { IPAMConfig: { LinkLocalIPs } } }, []);
    const shown = host.run(sandbox, "ip", "-o", "addr", "show", "eth0");
    expect(shown).toContain("169.254.7.7/16");
    expect(shown).toContain("fe80::77/64");
    const bad = { IPAMConfig: { LinkLocalIPs: ["10.0.0.1"] } };
    await expect(store.resolve({ linked: bad })).rejects.toThrow(
      "invalid link local IP address: 10.0.0.1",
    );
  });

  test("a full network says so", async () => {
    await store.create({ Name: "tiny", IPAM: { Config: [{ Subnet: "10.77.0.0/30" }] } });
    await running("only", [], "tiny");
    const next = await container("next");
    await expect(store.attach(next, { tiny: {} }, [])).rejects.toThrow(
      /no available IPv4 addresses on this network's address pools: tiny/,
    );
  });
});

test("two engines side by side in one namespace", async () => {
  const other = await open({
    dataFolder: join(host.folder, "data2"),
    runFolder: join(host.folder, "run2"),
    table: "skep-b",
    bridge: {
      name: "skepb0",
      cidr: "10.88.0.1/16",
      fixedCidr: "10.88.1.0/24",
      mtu: 1500,
      defaultBindIp: "0.0.0.0",
    },
  });
  const mine = await running("mine", [publish(80, 8095)]);
  const theirs = await container("theirs");
  const { networks } = await other.attach(theirs, { bridge: {} }, [publish(80, 8096)]);
  expect(networks[0]?.endpoint).toMatchObject({ IPAddress: "10.88.1.0", Gateway: "10.88.0.1" });
  await host.serve(mine.sandbox, 80, "mine");
  await host.serve(theirs, 80, "theirs");
  expect(host.get(host.outside, `http://${HOST_ADDRESS}:8095/`)).toBe("mine");
  expect(host.get(host.outside, `http://${HOST_ADDRESS}:8096/`)).toBe("theirs");
  await store.reconcile(alive(mine.sandbox));
  expect(host.get(host.outside, `http://${HOST_ADDRESS}:8096/`)).toBe("theirs");
  await other.detach(theirs.containerId);
  other.close();
});

test("a swarm network hosted here: its own bridge, addresses from the managers", async () => {
  host.run(undefined, "ip", "link", "add", "ov0", "type", "bridge");
  host.run(undefined, "ip", "link", "set", "ov0", "up");
  const calls: string[] = [];
  const local = await store.inspect("none");
  store.host({
    id: "netid0000000000000000000x",
    name: "ov",
    inspect: () => ({
      ...local,
      Id: "netid0000000000000000000x",
      Name: "ov",
      Driver: "overlay",
      Scope: "swarm",
      IPAM: { Driver: "default", Options: null, Config: [{ Subnet: "10.0.1.0/24" }] },
    }),
    bridge: "ov0",
    mtu: 1450,
    attached: async (_sandbox, { ipv4 }) => void calls.push(`attached ${ipv4 ?? ""}`),
    detached: async () => void calls.push("detached"),
  });
  const sandbox = await container("task");
  const settings = { IPAMConfig: { IPv4Address: "10.0.1.5" }, Aliases: ["web"] };
  const { networks } = await store.attach(sandbox, { ov: settings }, []);
  expect(networks[0]).toMatchObject({
    networkName: "ov",
    endpoint: { IPAddress: "10.0.1.5", IPPrefixLen: 24, MacAddress: "02:42:0a:00:01:05" },
  });
  expect(Object.keys((await store.inspect("ov")).Containers)).toEqual([sandbox.containerId]);
  await store.detach(sandbox.containerId);
  expect(calls).toEqual(["attached 10.0.1.5/24", "detached"]);
  store.unhost("netid0000000000000000000x");
  await expect(store.inspect("ov")).rejects.toThrow("network ov not found");
  host.run(undefined, "ip", "link", "del", "ov0");
});

test("a configuration is taken from another network, which stays while it is used", async () => {
  await store.create({
    Name: "config",
    ConfigOnly: true,
    IPAM: { Config: [{ Subnet: "10.66.0.0/24" }] },
    Labels: { from: "config" },
  });
  expect(await store.inspect("config")).toMatchObject({ ConfigOnly: true, Driver: "null" });
  await store.create({ Name: "real", ConfigFrom: { Network: "config" } });
  expect(await store.inspect("real")).toMatchObject({
    ConfigFrom: { Network: "config" },
    IPAM: { Config: [{ Subnet: "10.66.0.0/24", Gateway: "10.66.0.1" }] },
    Labels: { from: "config" },
  });
  expect((await running("one", [], "real")).ip).toBe("10.66.0.2");
  await expect(running("two", [], "config")).rejects.toThrow(
    "cannot create endpoint on configuration-only network",
  );
  await expect(store.remove("config")).rejects.toThrow('configuration network "config" is in use');
  for (const sandbox of sandboxes) await store.detach(sandbox.containerId);
  await store.remove("real");
  await store.remove("config");
});
