import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { HOST_ADDRESS } from "./host.ts";
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

describe("after a restart", () => {
  test("running containers keep all they have; the rest is freed; strays are deleted", async () => {
    await store.create({ Name: "kept" });
    const stays = await running("stays", [publish(80, 8090)], "kept");
    const goes = await running("goes", [publish(80, 8091)]);
    await host.serve(stays.sandbox, 80, "stays");
    const index = () => host.run(undefined, "ip", "-o", "link", "show", "skep0").split(":")[0];
    const bridge = index();
    await reopen(() => {
      host.run(undefined, "ip", "link", "add", "stray0", "type", "bridge");
      host.run(undefined, "ip", "link", "set", "stray0", "alias", "skep");
      host.run(undefined, "ip", "link", "add", "foreign0", "type", "bridge");
      host.run(undefined, "nft", "flush", "ruleset");
    });
    await store.reconcile(alive(stays.sandbox));
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
    await reopen();
    await store.reconcile(alive(sandbox));
    const mended = () => host.get(host.outside, `http://${HOST_ADDRESS}:8092/`);
    await expect.poll(mended, { timeout: 5000 }).toBe("mended");
  });

  test("a bridge that is deleted meanwhile is made again for the next containers", async () => {
    await store.create({ Name: "mend" });
    const first = await running("first", [publish(80, 8092)], "mend");
    await host.serve(first.sandbox, 80, "first");
    const { Id } = await store.inspect("mend");
    host.run(undefined, "ip", "link", "del", `br-${Id.slice(0, 12)}`);
    const others = await Promise.all(["second", "third"].map((name) => running(name, [], "mend")));
    const mended = () => host.get(host.outside, `http://${HOST_ADDRESS}:8092/`);
    await expect.poll(mended, { timeout: 10_000 }).toBe("first");
    for (const { sandbox } of others) {
      const page = () => host.get(sandbox, `http://${first.ip}/`);
      await expect.poll(page, { timeout: 10_000 }).toBe("first");
    }
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

  test.each([
    ["iptables", ["iptables", "-P", "FORWARD", "DROP"]],
    [
      "nft",
      [
        "nft",
        "add table inet fw; add chain inet fw f { type filter hook forward priority 0; policy drop; }",
      ],
    ],
  ])(
    "a firewall (%s) that drops what is forwarded is told of, and how to mend it",
    async (_, words) => {
      const { sandbox } = await running("first", [publish(80, 8093)]);
      await host.serve(sandbox, 80, "first");
      expect(store.warnings()).toEqual([]);
      host.run(undefined, ...words);
      try {
        expect(host.get(host.outside, `http://${HOST_ADDRESS}:8093/`)).toBeUndefined();
        await store.audit();
        const [warning = ""] = store.warnings();
        expect(warning).toMatch(/another firewall drops .* \((ip filter FORWARD|inet fw f)\): /);
        for (const command of warning.split("): ").at(-1)?.split("; ") ?? []) {
          host.run(undefined, "sh", "-c", command);
        }
        const page = () => host.get(host.outside, `http://${HOST_ADDRESS}:8093/`);
        await expect.poll(page, { timeout: 10_000 }).toBe("first");
      } finally {
        host.run(undefined, "iptables", "-P", "FORWARD", "ACCEPT");
        host.run(undefined, "iptables", "-F", "FORWARD");
        host.run(undefined, "sh", "-c", "nft delete table inet fw || true");
      }
      await store.audit();
      expect(store.warnings()).toEqual([]);
    },
  );

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
    writeFileSync(join(host.folder, "run", "bad.json"), '{"version":1,"containerId":"bad"}');
    await reopen();
    expect((await store.list(new Map())).map(({ Name }) => Name).sort()).toEqual([
      "bridge",
      "host",
      "none",
    ]);
    expect(readdirSync(join(host.folder, "data"))).not.toContain("torn.json.new");
  });
});
