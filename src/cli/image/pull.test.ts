import { expect, test } from "vitest";
import { ProgressLines } from "./pull.ts";

/** What a terminal of these columns shows then; enough of one for lines that are drawn anew. */
function screenOf(output: string): readonly string[] {
  const rows: string[] = [""];
  let row = 0;
  let column = 0;
  const escape = String.fromCharCode(27);
  for (const [part] of output.matchAll(new RegExp(`${escape}\\[\\d*[ABK]|[\\s\\S]`, "g"))) {
    const moved = Number(part.slice(2, -1));
    if (part === "\n") {
      row += 1;
      column = 0;
      rows[row] ??= "";
    } else if (part === "\r") column = 0;
    else if (part.endsWith("A") && part.length > 1) row -= moved;
    else if (part.endsWith("B") && part.length > 1) row += moved;
    else if (part.endsWith("K") && part.length > 1) rows[row] = "";
    else {
      const before = (rows[row] ?? "").padEnd(column);
      rows[row] = before.slice(0, column) + part + before.slice(column + 1);
      column += 1;
    }
  }
  return rows.map((line) => line.trimEnd());
}

test("each layer has a line of its own, that shows its newest state", () => {
  const lines = new ProgressLines(80);
  const output = [
    lines.draw("a", "Waiting", {}),
    lines.draw("b", "Downloading", { current: 1024, total: 2_000_000 }),
    lines.draw("a", "Downloading", { current: 65_140, total: 1_052_000 }),
    lines.draw("b", "Pull complete", {}),
    "Status: done\n",
  ].join("");
  expect(screenOf(output)).toEqual([
    "a: Downloading  65.14kB/1.052MB",
    "b: Pull complete",
    "Status: done",
    "",
  ]);
});

test("after other output a layer that was shown has a new line", () => {
  const lines = new ProgressLines(80);
  const first = `${lines.draw("a", "Pull complete", {})}Status: done\n`;
  lines.forget();
  const output = `${first}2: Pulling\n${lines.draw("a", "Already exists", {})}`;
  expect(screenOf(output)).toEqual([
    "a: Pull complete",
    "Status: done",
    "2: Pulling",
    "a: Already exists",
    "",
  ]);
});

test("a wide terminal has a bar; of an unknown total only what came is shown", () => {
  const wide = new ProgressLines(111);
  const bar = `[${"=".repeat(25)}>${" ".repeat(25)}]`;
  expect(screenOf(wide.draw("a", "Downloading", { current: 500, total: 1000 }))).toEqual([
    `a: Downloading ${bar}     500B/1kB`,
    "",
  ]);
  expect(screenOf(wide.draw("b", "Downloading", { current: 1234 })).join("")).toBe(
    "b: Downloading  1.234kB",
  );
});

test("a line is never longer than the terminal is wide", () => {
  const [line = ""] = screenOf(new ProgressLines(12).draw("abc", "Downloading", { current: 9 }));
  expect(line).toBe("abc: Downloa");
});
