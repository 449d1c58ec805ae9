import { describe, expect, test } from "vitest";
import { HOST_ADDRESS, OUTSIDE_ADDRESS } from "./host.ts";
import {
  alive,
  container,
  host,
  publish,
  reopen,
  running,
  store,
  useLocalNetworks,
} from "./local.ts";

useLocalNetworks();

describe("macvlan", () => {
  const LAN = {
    Config: [{ Subnet: "192.0.2.0/24", Gateway: OUTSIDE_ADDRESS, IPRange: "192.0.2.64/26" }],
  };

  test("on a parent: containers are neighbours of what is outside", async () => {
    await store.create({ Name: "lan", Driver: "macvlan", IPAM: LAN, Options: { parent: "up0" } });
    const { sandbox, ip } = await running("one", [publish(80, 8080)], "lan");
    expect(ip).toBe("192.0.2.64");
    await host.serve(sandbox, 80, "one");
    expect(host.get(host.outside, `http://${ip}/`)).toBe("one");
    // Its ports are its own: nothing is published on the host.
    expect(host.get(host.outside, `http://${HOST_ADDRESS}:8080/`)).toBeUndefined();
    const two = await running("two", [], "lan");
    expect(host.get(two.sandbox, `http://${ip}/`)).toBe("one");
    expect(host.run(two.sandbox, "ip", "route", "show", "default")).toContain(OUTSIDE_ADDRESS);
    await expect(
      store.create({ Name: "again", Driver: "macvlan", Options: { parent: "up0" } }),
    ).rejects.toThrow(/^network dm-[0-9a-f]{12} is already using parent interface up0$/);

    const id = (await store.inspect("lan")).Id;
    await reopen();
    await store.reconcile(alive(sandbox, two.sandbox));
    expect(host.get(host.outside, `http://${ip}/`)).toBe("one");
    await store.disconnect(two.sandbox, "lan", []);
    expect(host.run(two.sandbox, "ip", "-o", "link")).not.toContain("eth0");
    await store.detach(sandbox.containerId);
    await store.remove(id);
    expect(host.run(undefined, "ip", "-o", "link", "show", "up0")).toContain("state UP");
  });

  test("without a parent: each other and nothing else", async () => {
    await store.create({ Name: "alone", Driver: "macvlan" });
    expect((await store.inspect("alone")).Internal).toBe(true);
    const [first, second] = [await running("a", [], "alone"), await running("b", [], "alone")];
    await host.serve(second.sandbox, 80, "b");
    expect(host.get(first.sandbox, `http://${second.ip}/`)).toBe("b");
    expect(host.run(first.sandbox, "ip", "route", "show", "default")).toBe("");
    expect(host.get(first.sandbox, `http://${HOST_ADDRESS}:80/`)).toBeUndefined();
    for (const { sandbox } of [first, second]) await store.detach(sandbox.containerId);
    await store.remove("alone");
    expect(host.run(undefined, "ip", "-o", "link")).not.toMatch(/ d[mp]-/);
  });

  test("a VLAN of an interface is made, and goes with its network", async (context) => {
    const probe = ["link", "add", "link", "up0", "name", "probe", "type", "vlan", "id", "9"];
    try {
      host.run(undefined, "ip", ...probe);
    } catch {
      context.skip("this kernel has no VLANs");
    }
    host.run(undefined, "ip", "link", "del", "probe");
    await store.create({ Name: "tagged", Driver: "macvlan", Options: { parent: "up0.50" } });
    expect(host.run(undefined, "ip", "-d", "link", "show", "up0.50")).toContain("id 50");
    await store.remove("tagged");
    expect(host.run(undefined, "ip", "-o", "link")).not.toContain("up0.50");
  });

  test.each([
    [{ parent: "nope" }, "invalid subinterface vlan name nope, example formatting is eth0.10"],
    [{ parent: "nope.7" }, "failed to find master interface nope on the Docker host"],
    [{ parent: "up0.5000" }, "vlan id must be between 1-4094, received: 5000"],
    [{ parent: "lo" }, "loopback interface is not a valid macvlan parent link"],
    [{ parent: "up0; id" }, "invalid parent interface name"],
    [
      { parent: "up0", macvlan_mode: "x" },
      "requested macvlan mode 'x' is not valid, 'bridge' mode is the macvlan driver default",
    ],
  ])("refuses %j", async (Options, message) => {
    await expect(store.create({ Name: "bad", Driver: "macvlan", Options })).rejects.toThrow(
      message,
    );
    expect((await store.list(new Map())).length).toBe(3);
  });
});

describe("ipvlan", () => {
  const LAN = { Config: [{ Subnet: "192.0.2.0/24", Gateway: OUTSIDE_ADDRESS }] };
  const ipvlan = (Name: string, Options: Record<string, string> = {}) =>
    store.create({ Name, Driver: "ipvlan", IPAM: LAN, Options: { parent: "up0", ...Options } });

  test("l2: neighbours of what is outside, with the parent's MAC address", async (context) => {
    if (!kernelHas("ipvlan", "mode", "l2")) context.skip("this kernel has no ipvlan");
    await ipvlan("lan");
    const settings = { IPAMConfig: { IPv4Address: "192.0.2.70" } };
    const [one, two] = [await container("one"), await container("two")];
    const { networks } = await store.attach(one, { lan: settings }, []);
    expect(networks[0]?.endpoint).toMatchObject({ MacAddress: "", Gateway: OUTSIDE_ADDRESS });
    await store.attach(two, { lan: { IPAMConfig: { IPv4Address: "192.0.2.71" } } }, []);
    await host.serve(one, 80, "one");
    expect(host.get(host.outside, "http://192.0.2.70/")).toBe("one");
    expect(host.get(two, "http://192.0.2.70/")).toBe("one");
    await reopen();
    await store.reconcile(alive(one, two));
    expect(host.get(host.outside, "http://192.0.2.70/")).toBe("one");
  });

  test.for(["l3", "l3s"])("%s: all leave by the interface, to no router", async (mode, context) => {
    if (!kernelHas("ipvlan", "mode", mode)) context.skip("this kernel has no ipvlan");
    await store.create({
      Name: "routed",
      Driver: "ipvlan",
      IPAM: { Config: [{ Subnet: "10.70.0.0/24" }] },
      Options: { parent: "up0", ipvlan_mode: mode },
    });
    const { sandbox, ip, result } = await running("one", [], "routed");
    expect(result.networks[0]?.endpoint.Gateway).toBe("");
    expect(host.run(sandbox, "ip", "route", "show", "default")).toMatch(/^default dev eth0/);
    host.outside.run("ip", "route", "add", "10.70.0.0/24", "dev", "down0");
    expect(host.run(sandbox, "ping", "-c1", "-W1", OUTSIDE_ADDRESS)).toContain("1 received");
    expect(ip).toMatch(/^10\.70\.0\./);
    host.outside.run("ip", "route", "del", "10.70.0.0/24", "dev", "down0");
  });

  test("what the kernel has not is said, and nothing stays", async (context) => {
    if (kernelHas("ipvlan", "mode", "l2")) context.skip("this kernel has ipvlan");
    await ipvlan("lan");
    const sandbox = await container("one");
    await expect(store.attach(sandbox, { lan: {} }, [])).rejects.toThrow(
      /type ipvlan mode l2 bridge: .*(Unknown device type|not supported)/,
    );
    expect((await store.inspect("lan")).Containers).toEqual({});
    await store.remove("lan");
  });

  test.each([
    [
      { ipvlan_mode: "l4" },
      "requested ipvlan mode 'l4' is not valid, 'l2' mode is the ipvlan driver default",
    ],
    [
      { ipvlan_flag: "x" },
      "requested ipvlan flag 'x' is not valid, 'bridge' is the ipvlan driver default",
    ],
    [{ parent: "lo" }, "loopback interface is not a valid ipvlan parent link"],
  ])("refuses %j", async (Options, message) => {
    await expect(ipvlan("bad", Options)).rejects.toThrow(message);
  });

  test("refuses a MAC address, and a parent that another network lies on", async () => {
    await ipvlan("lan");
    const sandbox = await container("one");
    const mac = { MacAddress: "02:42:00:00:00:01" };
    await expect(store.attach(sandbox, { lan: mac }, [])).rejects.toThrow(
      "ipvlan interfaces do not support custom mac address assignment",
    );
    await expect(
      store.create({ Name: "again", Driver: "ipvlan", Options: { parent: "up0" } }),
    ).rejects.toThrow(/^network di-[0-9a-f]{12} is already using parent interface up0$/);
  });

  function kernelHas(...type: readonly string[]): boolean {
    try {
      host.run(undefined, "ip", "link", "add", "link", "up0", "name", "probe", "type", ...type);
      host.run(undefined, "ip", "link", "del", "probe");
      return true;
    } catch {
      return false;
    }
  }
});
