import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type NetworkStore, openNetworkStore } from "#engine/networks/service.ts";
import type { NetworkSandbox, PortRequest } from "#engine/ports.ts";
import { silentLog } from "#platform/log.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { enterHost, HOST_ADDRESS, OUTSIDE_ADDRESS, type TestHost } from "./host.ts";

let host: TestHost;
let store: NetworkStore;
const sandboxes: NetworkSandbox[] = [];
let events: string[] = [];

beforeAll(() => {
  host = enterHost();
});

afterAll(async () => {
  store?.close();
  await host?.leave();
});

beforeEach(async () => {
  store = await open();
  events = [];
});

afterEach(async () => {
  // Whatever a test did, the kernel has what the store thinks.
  const differences = await store.audit();
  for (const sandbox of sandboxes.splice(0)) {
    await store.detach(sandbox.containerId);
    await host.end(sandbox);
  }
  await store.prune(new Map());
  store.close();
  expect(differences).toEqual([]);
});

function open(more = {}): Promise<NetworkStore> {
  return openNetworkStore({
    dataFolder: join(host.folder, "data"),
    runFolder: join(host.folder, "run"),
    table: "skep",
    bridge: {
      name: "skep0",
      cidr: undefined,
      fixedCidr: undefined,
      mtu: 1500,
      defaultBindIp: "0.0.0.0",
    },
    addressPools: [],
    nameservers: ["192.0.2.53"],
    clock: realClock,
    random: realRandom,
    log: silentLog,
    events: {
      publish: ({ Action, Actor }) =>
        void events.push(`${Action} ${Actor.Attributes["name"] ?? ""}`),
    },
    ...more,
  });
}

async function container(name: string): Promise<NetworkSandbox> {
  const sandbox = await host.container(name);
  sandboxes.push(sandbox);
  return sandbox;
}

function publish(containerPort: number, hostPort: number, more = {}): PortRequest {
  return { containerPort, protocol: "tcp", hostIp: "", hostPort, ...more };
}

async function running(name: string, ports: PortRequest[] = [], network = "bridge") {
  const sandbox = await container(name);
  const result = await store.attach(sandbox, { [network]: {} }, ports);
  return { sandbox, result, ip: result.networks[0]?.endpoint.IPAddress ?? "" };
}

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
    expect(host.run(sandbox, "ping", "-c1", "-W1", OUTSIDE_ADDRESS)).toContain("1 received");
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

describe("published ports", () => {
  test("answer to the outside, to the host by every address, to neighbours and to oneself", async () => {
    const { sandbox, result } = await running("web", [publish(80, 8080)]);
    const other = await running("other");
    await host.serve(sandbox, 80, "web");
    expect(result.ports).toEqual({ "80/tcp": [{ HostIp: "0.0.0.0", HostPort: "8080" }] });
    const urls = [
      `http://${HOST_ADDRESS}:8080/`,
      "http://127.0.0.1:8080/",
      "http://172.17.0.1:8080/",
    ];
    expect(host.get(host.outside, urls[0] ?? "")).toBe("web");
    for (const url of urls) expect([url, host.get(undefined, url)]).toEqual([url, "web"]);
    for (const from of [other.sandbox, sandbox]) {
      expect(host.get(from, urls[0] ?? "")).toBe("web");
      expect(host.get(from, urls[2] ?? "")).toBe("web");
    }
    await store.detach(sandbox.containerId);
    expect(host.get(undefined, urls[0] ?? "")).toBeUndefined();
  });

  test("the outside sees nothing that is not published, and loopback stays the host's", async () => {
    const { sandbox, ip } = await running("quiet", [publish(81, 8081, { hostIp: "127.0.0.1" })]);
    await host.serve(sandbox, 80, "quiet");
    await host.serve(sandbox, 81, "local");
    expect(host.get(undefined, `http://${ip}/`)).toBe("quiet");
    expect(host.get(host.outside, `http://${ip}/`)).toBeUndefined();
    expect(host.get(undefined, "http://127.0.0.1:8081/")).toBe("local");
    expect(host.get(host.outside, `http://${HOST_ADDRESS}:8081/`)).toBeUndefined();
    await host.serve(undefined, 9999, "secret");
    // A container that routes loopback addresses to the host must not reach the host's loopback.
    host.run(sandbox, "ip", "addr", "del", "127.0.0.1/8", "dev", "lo");
    host.run(sandbox, "ip", "route", "add", "127.0.0.1/32", "via", "172.17.0.1", "src", ip);
    expect(host.get(sandbox, "http://127.0.0.1:9999/")).toBeUndefined();
  });

  test("the server sees who asks", async () => {
    const { sandbox } = await running("web", [publish(7000, 7000)]);
    const listener = host.script(
      sandbox,
      'require("net").createServer((s) => s.end(s.remoteAddress)).listen(7000, "0.0.0.0")',
    );
    const ask = () => host.get(host.outside, `telnet://${HOST_ADDRESS}:7000`) ?? "";
    await expect.poll(ask, { timeout: 10_000 }).toBe(OUTSIDE_ADDRESS);
    listener.kill("SIGKILL");
  });

  test("a port is given once: to containers, and against programs of the host", async () => {
    await running("first", [publish(80, 8080)]);
    const second = await container("second");
    await expect(store.attach(second, { bridge: {} }, [publish(80, 8080)])).rejects.toThrow(
      /driver failed programming external connectivity on endpoint second \([0-9a-f]{64}\): Bind for 0.0.0.0:8080 failed: port is already allocated/,
    );
    expect((await store.inspect("bridge")).Containers[second.containerId]).toBeUndefined();
    await host.serve(undefined, 8088, "program");
    await expect(store.attach(second, { bridge: {} }, [publish(80, 8088)])).rejects.toThrow(
      "failed to bind host port for 0.0.0.0:8088/tcp: address already in use",
    );
    const far = publish(80, 8091, { hostIp: "192.0.2.200" });
    await expect(store.attach(second, { bridge: {} }, [far])).rejects.toThrow(
      "failed to bind host port for 192.0.2.200:8091/tcp: cannot assign requested address",
    );
    const six = publish(80, 8091, { hostIp: "2001:db8::1" });
    await expect(store.attach(second, { bridge: {} }, [six])).rejects.toThrow(
      "port 80/tcp cannot be published on 2001:db8::1: the container has no IPv6 address",
    );
    const result = await store.attach(second, { bridge: {} }, [
      publish(80, 8080, { protocol: "udp" }),
      publish(80, 8088, { hostPortEnd: 8090 }),
      publish(81, 0),
      publish(82, 0),
    ]);
    expect(result.ports["80/udp"]).toEqual([{ HostIp: "0.0.0.0", HostPort: "8080" }]);
    expect(result.ports["80/tcp"]).toEqual([{ HostIp: "0.0.0.0", HostPort: "8089" }]);
    const free = ["81/tcp", "82/tcp"].map((key) => Number(result.ports[key]?.[0]?.HostPort));
    expect(free.every((port) => port >= 32768 && port <= 60999)).toBe(true);
    expect(new Set(free).size).toBe(2);
  });

  test("a failed attach leaves nothing behind", async () => {
    const links = () => host.run(undefined, "ls", "/proc/sys/net/ipv4/conf");
    const before = links();
    const sandbox = await container("broken");
    const gone = { ...sandbox, pid: 999_999, netnsPath: "/proc/999999/ns/net" };
    await expect(store.attach(gone, { bridge: {} }, [publish(80, 8080)])).rejects.toThrow();
    expect(links()).toBe(before);
    expect(readdirSync(join(host.folder, "run"))).toEqual([]);
    const { ip } = await running("next", [publish(80, 8080)]);
    expect(ip).toBe("172.17.0.2");
  });

  test("udp: a flow that goes on finds the container that took over", async () => {
    const first = await running("udp1", [publish(5353, 5353, { protocol: "udp" })]);
    const echo = (sandbox: NetworkSandbox, text: string) =>
      host.script(
        sandbox,
        `const s = require("dgram").createSocket("udp4").bind(5353);
         s.on("message", (_, from) => s.send("${text}", from.port, from.address));`,
      );
    // One socket for ever: the kernel sees one flow.
    const answers: string[] = [];
    const client = host.script(
      host.outside,
      `const s = require("dgram").createSocket("udp4").bind(40000);
       s.on("message", (text) => console.log(String(text)));
       setInterval(() => s.send("hi", 5353, "${HOST_ADDRESS}"), 50);`,
    );
    client.stdout?.on("data", (chunk: Buffer) =>
      answers.push(...chunk.toString().trim().split("\n")),
    );
    const ask = () => answers.at(-1);
    const one = echo(first.sandbox, "one");
    await expect.poll(ask, { timeout: 10_000 }).toBe("one");
    await store.detach(first.sandbox.containerId);
    const second = await running("udp2", [publish(5353, 5353, { protocol: "udp" })]);
    const two = echo(second.sandbox, "two");
    await expect.poll(ask, { timeout: 10_000 }).toBe("two");
    for (const child of [one, two, client]) child.kill("SIGKILL");
  });
});

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
      `error while removing network: network blue id ${id} has active endpoints`,
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
    [{ Name: "" }, "network name cannot be empty"],
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

describe("after a restart", () => {
  test("running containers keep all they have; the rest is freed; strays are deleted", async () => {
    await store.create({ Name: "kept" });
    const stays = await running("stays", [publish(80, 8090)], "kept");
    const goes = await running("goes", [publish(80, 8091)]);
    await host.serve(stays.sandbox, 80, "stays");
    const index = () => host.run(undefined, "ip", "-o", "link", "show", "skep0").split(":")[0];
    const bridge = index();
    store.close();
    host.run(undefined, "ip", "link", "add", "stray0", "type", "bridge");
    host.run(undefined, "ip", "link", "set", "stray0", "alias", "skep");
    host.run(undefined, "ip", "link", "add", "foreign0", "type", "bridge");
    host.run(undefined, "nft", "flush", "ruleset");
    store = await open();
    await store.reconcile(new Map([[stays.sandbox.containerId, stays.sandbox]]));
    expect(host.get(host.outside, `http://${HOST_ADDRESS}:8090/`)).toBe("stays");
    expect(index()).toBe(bridge);
    const links = host.run(undefined, "ip", "-o", "link");
    expect(links).not.toContain("stray0");
    expect(links).toContain("foreign0");
    expect(links.match(/veth/g)?.length).toBe(1);
    host.run(undefined, "ip", "link", "del", "foreign0");
    const other = await container("other");
    await expect(store.attach(other, { bridge: {} }, [publish(80, 8090)])).rejects.toThrow(
      /port is already allocated/,
    );
    const result = await store.attach(other, { bridge: {} }, [publish(80, 8091)]);
    expect(result.networks[0]?.endpoint.IPAddress).toBe(goes.ip);
  });

  test("bridges and interfaces that somebody deleted are made again", async () => {
    await store.create({ Name: "mend" });
    const { sandbox } = await running("mended", [publish(80, 8092)], "mend");
    await host.serve(sandbox, 80, "mended");
    const { Id } = await store.inspect("mend");
    host.run(undefined, "ip", "link", "del", `br-${Id.slice(0, 12)}`);
    store.close();
    store = await open();
    await store.reconcile(new Map([[sandbox.containerId, sandbox]]));
    const mended = () => host.get(host.outside, `http://${HOST_ADDRESS}:8092/`);
    await expect.poll(mended, { timeout: 5000 }).toBe("mended");
  });

  test.each([
    ["the whole table", ["delete", "table", "inet", "skep"]],
    ["the rules of a chain", ["flush", "chain", "inet", "skep", "published"]],
    ["a chain", ["flush", "chain", "inet", "skep", "forward"]],
    ["published ports", ["flush", "map", "inet", "skep", "publish4"]],
    ["an element of a set", ["delete", "element", "inet", "skep", "bridges", '{ "skep0" }']],
  ])("%s that somebody takes away is put back, and nothing else is touched", async (_, words) => {
    const { sandbox } = await running("first", [publish(80, 8093)]);
    await host.serve(sandbox, 80, "first");
    const page = () => host.get(host.outside, `http://${HOST_ADDRESS}:8093/`);
    expect(await store.audit()).toEqual([]);
    host.run(undefined, "nft", ...words);
    expect(await store.audit()).not.toEqual([]);
    await expect.poll(page, { timeout: 5000 }).toBe("first");
    expect(await store.audit()).toEqual([]);
  });

  test("without being asked to, the table is looked after", async () => {
    const { sandbox } = await running("first", [publish(80, 8093)]);
    await host.serve(sandbox, 80, "first");
    host.run(undefined, "nft", "flush", "ruleset");
    const page = () => host.get(host.outside, `http://${HOST_ADDRESS}:8093/`);
    await expect.poll(page, { timeout: 10_000 }).toBe("first");
  });

  test("a flushed table is written anew by the next change", async () => {
    const first = await running("first", [publish(80, 8093)]);
    await host.serve(first.sandbox, 80, "first");
    host.run(undefined, "nft", "delete", "table", "inet", "skep");
    expect(host.get(host.outside, `http://${HOST_ADDRESS}:8093/`)).toBeUndefined();
    await running("second", [publish(80, 8094)]);
    expect(host.get(host.outside, `http://${HOST_ADDRESS}:8093/`)).toBe("first");
  });

  test("what a crash left half written is passed over", async () => {
    writeFileSync(join(host.folder, "data", "torn.json.new"), "{");
    writeFileSync(join(host.folder, "data", "bad.json"), "{");
    store.close();
    store = await open();
    expect((await store.list(new Map())).map(({ Name }) => Name).sort()).toEqual([
      "bridge",
      "host",
      "none",
    ]);
    expect(readdirSync(join(host.folder, "data"))).not.toContain("torn.json.new");
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
  await store.reconcile(new Map([[mine.sandbox.containerId, mine.sandbox]]));
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
    store.close();
    store = await open();
    await store.reconcile(new Map([one(sandbox), one(two.sandbox)]));
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
  await host.serve(sandbox, 80, "six");
  const url = "http://[2001:db8::1]:8080/";
  await expect.poll(() => host.get(host.outside, url), { timeout: 5000 }).toBe("six");
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

function one(sandbox: NetworkSandbox): [string, NetworkSandbox] {
  return [sandbox.containerId, sandbox];
}
