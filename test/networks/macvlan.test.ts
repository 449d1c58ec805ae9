import { describe, expect, test } from "vitest";
import { HOST_ADDRESS, OUTSIDE_ADDRESS } from "./host.ts";
import { alive, host, publish, reopen, running, store, useLocalNetworks } from "./local.ts";

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
    [{ parent: "up0", macvlan_mode: "x" }, "requested macvlan mode 'x' is not valid"],
  ])("refuses %j", async (Options, message) => {
    await expect(store.create({ Name: "bad", Driver: "macvlan", Options })).rejects.toThrow(
      message,
    );
    expect((await store.list(new Map())).length).toBe(3);
  });
});
