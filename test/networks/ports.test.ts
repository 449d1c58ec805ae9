import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { NetworkSandbox } from "#engine/ports.ts";
import { readSysctl, setSysctl } from "#platform/net/ip.ts";
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
import { sctpAsk, sctpServer } from "./sctp.ts";

useLocalNetworks();

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
      "port 80/tcp cannot be published on 2001:db8::1: the container has no IPv6 address; create its network with --ipv6",
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

  test("::1 of the host leads to a container with IPv6, and to no other program of the host", async () => {
    const bridged = "net/bridge/bridge-nf-call-ip6tables";
    const before = readSysctl(bridged);
    if (before !== undefined) setSysctl(bridged, "0");
    await reopen();
    await store.create({ Name: "both", EnableIPv6: true });
    const ports = [publish(80, 8070, { hostIp: "::1" }), publish(80, 8071)];
    const { sandbox, result } = await running("web", ports, "both");
    expect(result.ports["80/tcp"]?.[0]).toEqual({ HostIp: "::1", HostPort: "8070" });
    await host.serve(sandbox, 80, "web");
    await expect
      .poll(() => host.get(undefined, "http://[::1]:8070/"), { timeout: 5000 })
      .toBe("web");
    expect(host.get(undefined, "http://[::1]:8071/")).toBe("web");
    expect(host.get(host.outside, "http://[2001:db8::1]:8070/")).toBeUndefined();
    expect(host.get(undefined, "http://127.0.0.1:8070/")).toBeUndefined();
    // A container that sends packets for ::1 to the host must not reach the host's loopback.
    host.script(
      undefined,
      'require("http").createServer((_, r) => r.end("secret")).listen(9998, "::1")',
    );
    await expect
      .poll(() => host.get(undefined, "http://[::1]:9998/"), { timeout: 5000 })
      .toBe("secret");
    const router = (await store.inspect("both")).IPAM.Config?.[1]?.Gateway ?? "";
    host.run(sandbox, "ip", "-6", "route", "del", "local", "::1", "dev", "lo", "table", "local");
    host.run(sandbox, "ip", "-6", "route", "add", "::1/128", "via", router);
    expect(host.get(sandbox, "http://[::1]:9998/")).toBeUndefined();
    if (before === undefined) return;
    // Where bridged packets are filtered it cannot be, and is said rather than left to time out.
    setSysctl(bridged, "1");
    const second = await container("second");
    await expect(
      store.attach(second, { both: {} }, [publish(80, 8072, { hostIp: "::1" })]),
    ).rejects.toThrow(
      "port 80/tcp cannot be published on ::1: this host's firewall sees bridged packets; set net.bridge.bridge-nf-call-ip6tables=0, or publish on 127.0.0.1",
    );
    await reopen();
    await store.reconcile(alive(sandbox));
    expect(host.get(undefined, "http://[::1]:8071/")).toBeUndefined();
    setSysctl(bridged, before);
  });

  test("sctp: in both families, and beside other protocols on the same port", async () => {
    await store.create({ Name: "both", EnableIPv6: true });
    const ports = [publish(3868, 3868, { protocol: "sctp" }), publish(80, 3868)];
    const { sandbox, result } = await running("peer", ports, "both");
    expect(result.ports["3868/sctp"]).toEqual([
      { HostIp: "0.0.0.0", HostPort: "3868" },
      { HostIp: "::", HostPort: "3868" },
    ]);
    const servers = [
      await sctpServer(sandbox.netnsPath, 4, 3868, "four"),
      await sctpServer(sandbox.netnsPath, 6, 3868, "six"),
    ];
    try {
      const { path } = host.outside;
      expect(sctpAsk(path, HOST_ADDRESS, 3868)).toBe(`four ${OUTSIDE_ADDRESS}`);
      expect(sctpAsk(path, "2001:db8::1", 3868)).toBe("six 2001:db8::2");
      const second = await container("second");
      await expect(
        store.attach(second, { both: {} }, [publish(1, 3868, { protocol: "sctp" })]),
      ).rejects.toThrow(/Bind for .*:3868 failed: port is already allocated/);
    } finally {
      for (const server of servers) server.kill("SIGKILL");
    }
  });
});
