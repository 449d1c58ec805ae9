import { afterEach, expect, it } from "vitest";
import type { Log } from "#base/ports.ts";
import { realClock } from "#platform/real-ports.ts";
import { ConnectionTable, type TableFill } from "./connection-table.ts";

const open: ConnectionTable[] = [];
afterEach(() => {
  for (const table of open.splice(0)) table.close();
});

function newTable() {
  const lines: string[] = [];
  const note = (message: string) => void lines.push(message);
  const log: Log = { debug: note, info: note, warn: note, error: note, child: () => log };
  const kernel: { fill: TableFill | undefined } = { fill: { count: 0, max: 100 } };
  const table = new ConnectionTable({ clock: realClock, log, read: () => kernel.fill });
  open.push(table);
  return { table, lines, kernel };
}

it("warns once when the table is nearly full, until there is room again", () => {
  const { table, lines, kernel } = newTable();
  kernel.fill = { count: 89, max: 100 };
  expect(table.warnings()).toEqual([]);
  kernel.fill = { count: 90, max: 100 };
  expect(table.warnings()).toEqual([
    expect.stringMatching(/^WARNING: .*nearly full \(90 of 100\)/),
  ]);
  kernel.fill = { count: 85, max: 100 };
  expect(table.warnings()).toHaveLength(1);
  expect(lines).toHaveLength(1);
  kernel.fill = { count: 79, max: 100 };
  expect(table.warnings()).toEqual([]);
  expect(lines).toHaveLength(2);
  expect(table.families().map(({ name }) => name)).toEqual([
    "skep_conntrack_entries",
    "skep_conntrack_entries_limit",
  ]);
});

it("says nothing where the kernel has no such table", () => {
  const { table, kernel } = newTable();
  kernel.fill = undefined;
  expect(table.warnings()).toEqual([]);
  expect(table.families()).toEqual([]);
});
