import { describe, expect, it } from "vitest";
import { describeEntry, describeMessage, describeReady } from "./describe.ts";
import { EMPTY_BYTES, message } from "./message.ts";
import { describeBytes } from "./quote.ts";
import { parseDataDriven, replaceOutputs } from "./testing/datadriven.ts";
import { entry } from "./testing/fixtures.ts";
import { LOCAL_APPEND_THREAD } from "./types.ts";

describe("describeBytes()", () => {
  it.each([
    ["", '""'],
    ["plain text", '"plain text"'],
    ['a "quote" and a \\', '"a \\"quote\\" and a \\\\"'],
    ["line\nand\ttab\u0001", '"line\\nand\\ttab\\x01"'],
    ["naïve 蜂", '"naïve 蜂"'],
    ["zero\u200bwidth", '"zero\\u200bwidth"'],
  ])("prints %j like Go's %%q", (text, expected) => {
    expect(describeBytes(new TextEncoder().encode(text))).toBe(expected);
  });

  it("prints bytes that are no text as such", () => {
    expect(describeBytes(Uint8Array.of(0x61, 0xff, 0x0a))).toBe('"a\\xff\\n"');
  });
});

describe("describeMessage()", () => {
  it("prints ids in hexadecimal, and names for the local targets", () => {
    const m = message({ type: "MsgStorageAppend", from: 26, to: LOCAL_APPEND_THREAD, term: 2 });
    expect(describeMessage(m)).toBe("1a->AppendThread MsgStorageAppend Term:2 Log:0/0");
  });

  it("prints a refusal with its hint", () => {
    const m = message({ type: "MsgAppResp", from: 1, to: 2, reject: true, rejectHint: 7 });
    expect(describeMessage(m)).toContain("Rejected (Hint: 7)");
  });
});

describe("describeEntry()", () => {
  it("prints an unreadable membership change with the reason", () => {
    const broken = { ...entry(1, 2), type: "confChange", data: Uint8Array.of(0x80) } as const;
    expect(describeEntry(broken)).toBe("1/2 EntryConfChange cut varint");
  });
});

describe("describeReady()", () => {
  it("says when there is nothing", () => {
    const nothing = {
      softState: undefined,
      hardState: undefined,
      readStates: [],
      entries: [],
      snapshot: undefined,
      committedEntries: [],
      messages: [],
      mustSync: false,
    };
    expect(describeReady(nothing)).toBe("<empty Ready>");
    const read = { index: 4, requestCtx: Uint8Array.of(1, 2) };
    expect(describeReady({ ...nothing, readStates: [read] })).toBe(
      "Ready MustSync=false:\nReadStates [{4 [1 2]}]\n",
    );
    expect(EMPTY_BYTES).toHaveLength(0);
  });
});

describe("parseDataDriven()", () => {
  const text = [
    "# comment",
    "",
    "first 1 key=(a, b) other=x \\",
    "  more=y",
    "input",
    "----",
    "out",
    "",
    "second",
    "----",
    "----",
    "with",
    "",
    "empty line",
    "----",
    "----",
    "",
    "third",
    "----",
    "ok",
  ].join("\n");

  it("reads commands, lists, continued lines and fenced outputs", () => {
    const [first, second, third] = parseDataDriven(text);
    expect(first).toMatchObject({ line: 3, name: "first", input: "input", expected: "out\n" });
    expect(first?.args).toEqual([
      { key: "1", values: undefined },
      { key: "key", values: ["a", "b"] },
      { key: "other", values: ["x"] },
      { key: "more", values: ["y"] },
    ]);
    expect(second?.expected).toBe("with\n\nempty line\n");
    expect(third?.expected).toBe("ok\n");
  });

  it("is undone by replaceOutputs() with the same outputs", () => {
    const outputs = parseDataDriven(text).map(({ expected }) => expected);
    expect(
      replaceOutputs(text, outputs)
        .split("\n")
        .filter((line) => line !== ""),
    ).toEqual(text.split("\n").filter((line) => line !== ""));
  });
});
