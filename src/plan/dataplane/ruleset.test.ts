import { describe, expect, test } from "vitest";
import { compareTable, hashOf, type NftTable, renderChange, renderTable } from "./ruleset.ts";

const BASE: NftTable = {
  name: "t",
  counters: ["strangers"],
  sets: [
    { name: "names", kind: "set", type: "ifname . ifname", elements: ['"a" . "b"'] },
    { name: "nets", kind: "set", type: "ipv4_addr", interval: true, elements: ["10.0.0.0/24"] },
    {
      name: "jumps",
      kind: "map",
      type: "inet_proto . inet_service : verdict",
      elements: ["tcp . 80 : goto one"],
    },
  ],
  chains: [
    { name: "in", hook: "type filter hook input priority 0", rules: ["tcp dport 1 drop"] },
    { name: "one", rules: ["accept"] },
  ],
};

/** As nft lists it. */
function listing(table: NftTable): Record<string, Record<string, unknown>>[] {
  const element = (text: string): unknown => {
    const [key = "", value] = text.split(" : ");
    const parts = key.split(" . ").map((part) => {
      const bare = part.replaceAll('"', "");
      const [addr, len] = bare.split("/");
      if (len !== undefined) return { prefix: { addr, len: Number(len) } };
      return /^\d+$/.test(bare) ? Number(bare) : bare;
    });
    const shown = parts.length === 1 ? parts[0] : { concat: parts };
    return value === undefined ? shown : [shown, { goto: { target: value.split(" ")[1] } }];
  };
  return [
    { table: { name: table.name } },
    ...table.counters.map((name) => ({ counter: { name, packets: 7 } })),
    ...table.sets.map(({ name, kind, elements }) => ({
      [kind]: { name, ...(elements.length === 0 ? {} : { elem: elements.map(element) }) },
    })),
    ...table.chains.map(({ name, hook }) => {
      const [, type, at, prio] = /type (\S+) hook (\S+) priority (\S+)/.exec(hook ?? "") ?? [];
      const base =
        hook === undefined ? {} : { type, hook: at, prio: Number(prio), policy: "accept" };
      return { chain: { name, ...base } };
    }),
    ...table.chains.flatMap(({ name, rules }) =>
      rules.map((rule) => ({ rule: { chain: name, comment: hashOf(rule), handle: 3 } })),
    ),
  ];
}

const without = (kind: string, name: string) =>
  listing(BASE).filter((entry) => entry[kind]?.["name"] !== name);

describe("compareTable", () => {
  test("a listing of the table itself has no differences", () => {
    expect(compareTable(BASE, listing(BASE))).toEqual([]);
  });

  test.each([
    ["nothing at all", [], /counters/],
    ["a chain less", without("chain", "one"), /chains/],
    ["a set less", without("set", "names"), /sets/],
    ["a counter less", without("counter", "strangers"), /counters/],
    [
      "a rule less",
      listing(BASE).filter((entry) => entry["rule"]?.["chain"] !== "in"),
      /rules of chain in/,
    ],
    ["a rule more", [...listing(BASE), { rule: { chain: "in", handle: 9 } }], /rules of chain in/],
    [
      "another rule",
      listing({ ...BASE, chains: [{ ...BASE.chains[0]!, rules: ["accept"] }, BASE.chains[1]!] }),
      /rules of chain in/,
    ],
    [
      "an element less",
      listing({ ...BASE, sets: BASE.sets.map((set) => ({ ...set, elements: [] })) }),
      /set nets/,
    ],
    [
      "another policy",
      listing(BASE).map((entry) =>
        entry["chain"]?.["name"] === "in"
          ? { chain: { ...entry["chain"], policy: "drop" } }
          : entry,
      ),
      /hook of chain in/,
    ],
  ])("%s is a difference", (_name, found, what) => {
    expect(compareTable(BASE, found).join()).toMatch(what);
  });
});

describe("renderChange", () => {
  test("nothing to do is the empty script", () => {
    expect(renderChange(BASE, structuredClone(BASE))).toBe("");
  });

  test("elements and rules change, base chains stay", () => {
    const after: NftTable = {
      ...BASE,
      sets: BASE.sets.map((set) =>
        set.name === "jumps" ? { ...set, elements: ["tcp . 80 : goto two"] } : set,
      ),
      chains: [
        { ...BASE.chains[0]!, rules: ["tcp dport 2 drop"] },
        { name: "two", rules: ["drop"] },
      ],
    };
    expect(renderChange(BASE, after)?.split("\n")).toEqual([
      "add chain inet t two",
      "flush chain inet t in",
      `add rule inet t in tcp dport 2 drop comment "${hashOf("tcp dport 2 drop")}"`,
      `add rule inet t two drop comment "${hashOf("drop")}"`,
      "delete element inet t jumps { tcp . 80 : goto one }",
      "add element inet t jumps { tcp . 80 : goto two }",
      "flush chain inet t one",
      "delete chain inet t one",
    ]);
  });

  test("other sets or hooks need the table written anew", () => {
    expect(renderChange(BASE, { ...BASE, sets: BASE.sets.slice(1) })).toBeUndefined();
    const chains = [{ ...BASE.chains[0]!, hook: "type filter hook input priority 5" }];
    expect(renderChange(BASE, { ...BASE, chains })).toBeUndefined();
    expect(renderTable(BASE)).toMatch(/^add table inet t\ndelete table inet t\n/);
  });
});
