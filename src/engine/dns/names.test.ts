/** Property: the index of names answers as a scan over all endpoints would, after any history. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { EndpointRecord } from "../networks/records.ts";
import { ContainerNames, firstOf, type NameSource } from "./names.ts";

const NETWORKS = ["n1", "n2"];
const NAMES = ["web", "Db", "tasks.web", "a"];

function endpoint(
  networkId: string,
  names: readonly string[],
  last: number,
  ipv6: boolean,
): EndpointRecord {
  return {
    endpointId: `e${last}`,
    networkId,
    networkName: networkId,
    bridge: "",
    hostInterface: "",
    interface: "eth0",
    mac: "",
    ipv4: `10.0.0.${last}/24`,
    ...(ipv6 ? { ipv6: `fd00::${last.toString(16)}/64` } : {}),
    priority: 0,
    settings: {},
    names,
  };
}

const change = fc.record({
  container: fc.constantFrom("c1", "c2", "c3"),
  endpoints: fc.uniqueArray(
    fc.record({
      network: fc.constantFrom(...NETWORKS),
      names: fc.uniqueArray(fc.constantFrom(...NAMES), { minLength: 0, maxLength: 3 }),
      ipv6: fc.boolean(),
    }),
    { selector: ({ network }) => network },
  ),
});

describe("names of containers", () => {
  it("answer as a scan over all endpoints does", () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 12 }), (history) => {
        const index = new ContainerNames();
        const model = new Map<string, EndpointRecord[]>();
        for (const [at, { container, endpoints }] of history.entries()) {
          const records = endpoints.map(({ network, names, ipv6 }, index) =>
            endpoint(network, names, at * NETWORKS.length + index + 1, ipv6),
          );
          model.set(container, records);
          index.set(container, records);
        }
        const all = [...model.values()].flat();
        for (const network of NETWORKS) {
          for (const name of NAMES.map((text) => text.toLowerCase())) {
            const bearers = all.filter(
              ({ networkId, names }) =>
                networkId === network && names.some((text) => text.toLowerCase() === name),
            );
            const v4 = bearers.map(({ ipv4 }) => ipv4?.split("/")[0]);
            const v6 = bearers.flatMap(({ ipv6 }) => ipv6?.split("/")[0] ?? []);
            const known = bearers.length > 0;
            expect(sorted(index.lookup(network, name, 4))).toEqual(known ? sorted(v4) : undefined);
            expect(sorted(index.lookup(network, name, 6))).toEqual(known ? sorted(v6) : undefined);
          }
          for (const { networkId, names, ipv4 } of all) {
            const wanted = networkId === network ? names[0] : undefined;
            expect(index.reverse(network, ipv4?.split("/")[0] ?? "")).toBe(wanted);
          }
        }
      }),
    );
  });

  it("an address that has moved on keeps its new holder's name", () => {
    const index = new ContainerNames();
    index.set("c1", [endpoint("n1", ["old"], 2, true)]);
    index.set("c2", [endpoint("n1", ["new"], 2, true)]);
    index.set("c1", []);
    expect(index.reverse("n1", "10.0.0.2")).toBe("new");
    expect(index.reverse("n1", "fd00::2")).toBe("new");
  });

  it("come from the first source that knows them, alone", () => {
    const source = (names: Record<string, readonly string[]>): NameSource => ({
      lookup: (_, name) => names[name],
      reverse: (_, address) => Object.keys(names).find((name) => names[name]?.includes(address)),
    });
    const both = firstOf([source({ web: ["10.0.0.2"], none: [] }), source({ web: ["10.0.0.9"] })]);
    expect(both.lookup("n", "web", 4)).toEqual(["10.0.0.2"]);
    expect(both.lookup("n", "none", 4)).toEqual([]);
    expect(both.lookup("n", "other", 4)).toBeUndefined();
    expect(both.reverse("n", "10.0.0.9")).toBe("web");
  });
});

function sorted(
  list: readonly (string | undefined)[] | undefined,
): readonly (string | undefined)[] | undefined {
  return list === undefined ? undefined : [...list].sort((a = "", b = "") => a.localeCompare(b));
}
