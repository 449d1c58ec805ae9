import { describe, expect, test } from "vitest";
import { OUTSIDE_ADDRESS } from "./host.ts";
import { container, events, host, publish, running, store, useLocalNetworks } from "./local.ts";

useLocalNetworks();

describe("the default bridge", () => {
  test("a container has an address, a router, loopback and the way out", async () => {
    const { sandbox, result, ip } = await running("one");
    expect(ip).toBe("172.17.0.2");
    expect(result.networks[0]).toMatchObject({
      networkName: "bridge",
      endpoint: {
        IPAddress: "172.17.0.2",
        IPPrefixLen: 16,
        Gateway: "172.17.0.1",
        MacAddress: "02:42:ac:11:00:02",
      },
    });
    expect(result.hosts).toEqual(["172.17.0.2 one"]);
    expect(result.nameservers).toEqual(["192.0.2.53"]);
    await host.serve(undefined, 8000, "the host");
    expect(host.get(sandbox, "http://172.17.0.1:8000/")).toBe("the host");
    expect(host.run(sandbox, "ping", "-c1", "-W5", OUTSIDE_ADDRESS)).toContain("1 received");
    expect(host.run(sandbox, "ip", "addr", "show", "dev", "eth0")).not.toContain("inet6");
    expect(events).toEqual(["connect bridge"]);
    const shown = await store.inspect("bridge");
    expect(shown.Containers[sandbox.containerId]).toMatchObject({
      Name: "one",
      IPv4Address: "172.17.0.2/16",
      MacAddress: "02:42:ac:11:00:02",
    });
    expect(shown.IPAM.Config).toEqual([{ Subnet: "172.17.0.0/16", Gateway: "172.17.0.1" }]);
  });

  test("containers reach each other; addresses are used again when they are free", async () => {
    const [one, two] = [await running("one"), await running("two")];
    await host.serve(two.sandbox, 80, "two");
    expect(host.get(one.sandbox, `http://${two.ip}/`)).toBe("two");
    await store.detach(one.sandbox.containerId);
    expect((await running("three")).ip).toBe(one.ip);
    await store.detach("never attached");
  });

  test("what it does not offer is refused", async () => {
    const address = { IPAMConfig: { IPv4Address: "172.17.0.9" } };
    await expect(store.resolve({ bridge: address })).rejects.toThrow(
      "user specified IP address is supported on user defined networks only",
    );
    await expect(store.resolve({ bridge: { Aliases: ["a"] } })).rejects.toThrow(
      "network-scoped alias is supported only for containers in user defined networks",
    );
    // The swarm may know it when the container starts.
    expect(await store.resolve({ nowhere: {} })).toEqual({ nowhere: {} });
    await expect(running("lost", [], "nowhere")).rejects.toThrow("network nowhere not found");
    expect(await store.resolve({ default: { MacAddress: "" } })).toEqual({
      bridge: { MacAddress: "" },
    });
    await expect(store.remove("bridge")).rejects.toThrow(
      "bridge is a pre-defined network and cannot be removed",
    );
  });
});

test("IPv6 alone: an address, a router, published ports", async () => {
  await store.create({ Name: "six", EnableIPv4: false, EnableIPv6: true });
  await expect(store.create({ Name: "no", EnableIPv4: false })).rejects.toThrow(
    "IPv4 or IPv6 must be enabled",
  );
  const sandbox = await container("one");
  const { networks } = await store.attach(sandbox, { six: {} }, [publish(80, 8080)]);
  expect(networks[0]?.endpoint).toMatchObject({
    IPAddress: "",
    GlobalIPv6Address: expect.stringMatching(/^fd[0-9a-f:]+::2$/),
  });
  // Else the kernel does not ask for the container's neighbour entry until it has looked for twins.
  const bridges = host.run(undefined, "ip", "-br", "link", "show", "type", "bridge");
  const names = bridges.split("\n").flatMap((line) => line.split(" ")[0] || []);
  const tentative = (name: string) =>
    host.run(undefined, "ip", "-6", "addr", "show", "dev", name, "tentative");
  expect(names.map(tentative)).toEqual(names.map(() => ""));
  await host.serve(sandbox, 80, "six");
  const url = "http://[2001:db8::1]:8080/";
  await expect.poll(() => host.get(host.outside, url), { timeout: 5000 }).toBe("six");
});
