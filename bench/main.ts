/**
 * `./dev bench [NAME…]`: measures against a peer, both in one run on this machine. Each `bench/NAME.ts`
 * exports `run(report)`; what it reports is printed as a table at the end and as one JSON line each.
 */

import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Measurement, Report } from "./report.ts";

const folder = fileURLToPath(new URL(".", import.meta.url));

const names = readdirSync(folder)
  .filter((file) => file.endsWith(".ts") && file !== "main.ts" && file !== "report.ts")
  .map((file) => file.replace(/\.ts$/, ""))
  .sort();

async function main(wanted: readonly string[]): Promise<number> {
  const unknown = wanted.filter((name) => !names.includes(name));
  if (wanted.length === 0 || unknown.length > 0) {
    process.stderr.write(
      `${unknown.length > 0 ? `no such bench: ${unknown.join(", ")}\n` : ""}Usage: ./dev bench NAME...   (${names.join(", ")})\n`,
    );
    return unknown.length > 0 ? 2 : 0;
  }
  const results: Measurement[] = [];
  const report: Report = (measurement) => {
    results.push(measurement);
    process.stdout.write(`${JSON.stringify(measurement)}\n`);
  };
  for (const name of wanted) {
    const bench = (await import(`./${name}.ts`)) as { run(report: Report): Promise<void> };
    await bench.run(report);
  }
  process.stdout.write(`\n${table(results)}`);
  return 0;
}

function table(results: readonly Measurement[]): string {
  const rows = [
    ["NAME", "OURS", "PEER", "UNIT", "RATIO"],
    ...results.map(({ name, ours, peer, unit, ratio }) => [
      name,
      String(ours),
      String(peer),
      unit,
      typeof ratio === "number" ? ratio.toFixed(2) : "–",
    ]),
  ];
  const widths = [0, 1, 2, 3, 4].map((column) =>
    Math.max(...rows.map((row) => (row[column] ?? "").length)),
  );
  return rows
    .map((row) => `${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("   ")}\n`)
    .join("");
}

// So that what a bench started hears of the end.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130));

process.exitCode = await main(process.argv.slice(2));
