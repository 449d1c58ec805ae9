/**
 * Columns as docker prints them: Go's tabwriter with a minimum width of 10 (20 for the classic list
 * commands), padding of 3 and no borders, plus the `--format` forms `table`, `table TEMPLATE`,
 * `json` and a bare template.
 */

import { compileTemplate } from "./go-template.ts";

/** One row: what a `--format` template can name, in the form docker prints it. */
export type Row = Readonly<Record<string, unknown>>;

export interface Listing {
  /** The default table. */
  readonly table: string;
  /** Field → heading for `table` formats. */
  readonly headings: Row;
  readonly rows: readonly Row[];
  /** What `--quiet` prints: this field alone. */
  readonly quietField: string;
}

export interface ListingOptions {
  readonly format: string | undefined;
  readonly quiet: boolean;
}

/** The listing as text, line feed at the end of every line. */
export function formatListing(listing: Listing, { format, quiet }: ListingOptions): string {
  if (quiet && (format === undefined || format === "table")) {
    return listing.rows.map((row) => `${String(row[listing.quietField])}\n`).join("");
  }
  if (format === "json" || format === "{{json .}}") {
    const json = compileTemplate("{{json .}}");
    return listing.rows.map((row) => `${json(sorted(row))}\n`).join("");
  }
  if (format === undefined || format === "table" || format.startsWith("table ")) {
    const source = format?.startsWith("table ") ? format.slice(6) : listing.table;
    const template = compileTemplate(source.replaceAll("\\t", "\t").replaceAll("\\n", "\n"));
    const head = template(listing.headings, true);
    return alignColumns([head, ...listing.rows.map((row) => template(row))]);
  }
  const template = compileTemplate(format.replaceAll("\\t", "\t").replaceAll("\\n", "\n"));
  return listing.rows.map((row) => `${template(row)}\n`).join("");
}

/** Go writes a map's keys in their order. */
function sorted(row: Row): Row {
  return Object.fromEntries(Object.entries(row).sort(([a], [b]) => (a < b ? -1 : 1)));
}

const MIN_WIDTH = 10;
const PADDING = 3;

/** Aligns tab-separated lines; the last cell of a line is not padded. */
export function alignColumns(lines: readonly string[], minWidth = MIN_WIDTH): string {
  const cells = lines.map((line) => line.split("\t"));
  const widths: number[] = [];
  for (const row of cells) {
    for (const [column, cell] of row.slice(0, -1).entries()) {
      widths[column] = Math.max(widths[column] ?? minWidth, displayWidth(cell) + PADDING);
    }
  }
  return cells
    .map((row) => {
      const padded = row.map((cell, column) =>
        column === row.length - 1
          ? cell
          : cell + " ".repeat(Math.max(0, (widths[column] ?? 0) - displayWidth(cell))),
      );
      return `${padded.join("")}\n`;
    })
    .join("");
}

function displayWidth(text: string): number {
  return Array.from(text).length;
}
