/** What is answered for which question: against a plain model of names, networks and links. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Asker, addressOfReverse, answerQuestion } from "./answer.ts";
import type { NameSource } from "./names.ts";

type Table = Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;

/** Network → name → addresses of both families. */
function sourceOf(table: Table): NameSource {
  return {
    lookup: (network, name, family) =>
      own(table[network], name)?.filter((address) => address.includes(":") === (family === 6)),
    reverse: (network, address) =>
      Object.entries(table[network] ?? {}).find(([, all]) => all.includes(address))?.[0],
  };
}

/** What the record itself holds: a name may be that of something that every object has. */
function own<T>(record: Readonly<Record<string, T>> | undefined, name: string): T | undefined {
  return record !== undefined && Object.hasOwn(record, name) ? record[name] : undefined;
}

const ASKER: Asker = {
  networks: [
    { id: "1", name: "front" },
    { id: "2", name: "back.end" },
  ],
  links: new Map([["database", "db"]]),
};

const SOURCE = sourceOf({
  "1": { web: ["10.0.1.2", "10.0.1.3"], "tasks.web": ["10.0.1.2"], six: ["fd00::2"] },
  "2": { web: ["10.0.2.2"], db: ["10.0.2.9", "fd00::9"], "web.1": ["10.0.2.2"] },
  "3": { hidden: ["10.0.3.2"] },
});

const ask = (name: string, type = "A", turn = 0) =>
  answerQuestion({ name, type }, ASKER, SOURCE, turn);
const found = (type: "A" | "AAAA", ...addresses: string[]) => ({
  kind: "addresses",
  type,
  addresses,
});

describe("a question", () => {
  it.each([
    ["the first network that knows a name speaks", ask("web"), found("A", "10.0.1.2", "10.0.1.3")],
    ["case does not matter", ask("WeB"), found("A", "10.0.1.2", "10.0.1.3")],
    ["name.network asks that one", ask("web.back.end"), found("A", "10.0.2.2")],
    ["names have dots", ask("tasks.web"), found("A", "10.0.1.2")],
    ["slots of services", ask("web.1"), found("A", "10.0.2.2")],
    ["a later network answers when the first does not know", ask("db"), found("A", "10.0.2.9")],
    ["IPv6", ask("db", "AAAA"), found("AAAA", "fd00::9")],
    ["links", ask("Database"), found("A", "10.0.2.9")],
    ["other networks' names are nobody's", ask("hidden"), { kind: "forward" }],
    ["a network alone is no name", ask("front"), { kind: "forward" }],
    ["the root", ask(""), { kind: "forward" }],
    ["a name of ours without IPv4 is not asked outside", ask("six"), { kind: "nothing" }],
    ["nor one without IPv6", ask("web", "AAAA"), { kind: "nothing" }],
    ["nor of another type", ask("web", "UNKNOWN_65"), { kind: "nothing" }],
    ["other types of others", ask("example.com", "MX"), { kind: "forward" }],
    ["turns", ask("web", "A", 1), found("A", "10.0.1.3", "10.0.1.2")],
    ["reverse", ask("9.2.0.10.in-addr.arpa", "PTR"), { kind: "pointer", name: "db.back.end" }],
    ["reverse of others", ask("9.9.9.9.in-addr.arpa", "PTR"), { kind: "forward" }],
    ["no address at all", ask("x.in-addr.arpa", "PTR"), { kind: "forward" }],
  ])("%s", (_, verdict, wanted) => {
    expect(verdict).toEqual(wanted);
  });

  it("is ours when one family alone is known", () => {
    const six: NameSource = {
      lookup: (_, name, family) => (name === "six" && family === 6 ? ["fd00::2"] : undefined),
      reverse: () => undefined,
    };
    const asked = (type: string) => answerQuestion({ name: "six", type }, ASKER, six, 0);
    expect(asked("AAAA")).toEqual(found("AAAA", "fd00::2"));
    expect(asked("A")).toEqual({ kind: "nothing" });
  });

  it("finds an address by the name that stands for it in reverse", () => {
    const four = fc.ipV4();
    fc.assert(
      fc.property(four, (address) => {
        const name = `${address.split(".").reverse().join(".")}.in-addr.arpa`;
        expect(addressOfReverse(name)).toBe(address);
      }),
    );
    const name = `${"9".padEnd(32, "0").split("").join(".").slice(0, -3)}d.f.ip6.arpa`;
    expect(addressOfReverse(name)).toBe("fd00::9");
  });

  it("gives all addresses, whoever's turn it is, and never throws", () => {
    const table = fc.dictionary(
      fc.constantFrom("1", "2"),
      fc.dictionary(fc.constantFrom("web", "a.b", "front"), fc.array(fc.ipV4(), { maxLength: 5 })),
    );
    fc.assert(
      fc.property(
        table,
        fc.oneof(fc.constantFrom("web", "a.b", "web.front", "front.front"), fc.string()),
        fc.constantFrom("A", "AAAA", "PTR", "MX"),
        fc.nat(),
        (names, name, type, turn) => {
          const verdict = answerQuestion({ name, type }, ASKER, sourceOf(names), turn);
          if (verdict.kind !== "addresses") return;
          const plain = name.endsWith(".front") ? name.slice(0, -".front".length) : name;
          const all = [own(names["1"], name), own(names["2"], name), own(names["1"], plain)].find(
            (addresses) => addresses !== undefined,
          );
          expect([...verdict.addresses].sort(compare)).toEqual([...(all ?? [])].sort(compare));
        },
      ),
    );
  });
});

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
