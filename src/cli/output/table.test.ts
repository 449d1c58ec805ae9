import { expect, test } from "vitest";
import { alignColumns, formatListing, type Listing } from "./table.ts";
import { humanDuration, humanSize, shownPorts } from "./units.ts";

const LISTING: Listing = {
  table: "{{.ID}}\t{{.Name}}",
  headings: { ID: "ID", Name: "NAME" },
  rows: [
    { ID: "aaaaaaaaaaaa", Name: "web" },
    { ID: "b", Name: "é" },
  ],
  quietField: "ID",
};

test("the default table: columns at least ten wide, three apart, the last one ragged", () => {
  expect(formatListing(LISTING, { format: undefined, quiet: false })).toBe(
    "ID             NAME\naaaaaaaaaaaa   web\nb              é\n",
  );
  expect(alignColumns(["A\tB", "x\ty"])).toBe("A         B\nx         y\n");
});

test.each([
  ["table {{.Name}}\\t{{.ID}}", "NAME      ID\nweb       aaaaaaaaaaaa\né         b\n"],
  ["{{.Name}}!", "web!\né!\n"],
  ["json", '{"ID":"aaaaaaaaaaaa","Name":"web"}\n{"ID":"b","Name":"é"}\n'],
])("--format %s", (format, text) => {
  expect(formatListing(LISTING, { format, quiet: false })).toBe(text);
});

test("--quiet prints the field alone", () => {
  expect(formatListing(LISTING, { format: undefined, quiet: true })).toBe("aaaaaaaaaaaa\nb\n");
});

test.each([
  [0, "0B"],
  [999, "999B"],
  [1240000, "1.24MB"],
  [45_600_000_000, "45.6GB"],
])("%i bytes is %s", (bytes, text) => {
  expect(humanSize(bytes)).toBe(text);
});

test.each([
  [0.4, "Less than a second"],
  [1, "1 second"],
  [59, "59 seconds"],
  [61, "About a minute"],
  [3599, "59 minutes"],
  [3600, "About an hour"],
  [7200, "2 hours"],
  [86400 * 3, "3 days"],
  [86400 * 20, "2 weeks"],
])("%d seconds is %s", (seconds, text) => {
  expect(humanDuration(seconds)).toBe(text);
});

test("ports show where they are published", () => {
  expect(
    shownPorts([
      { PrivatePort: 443, Type: "tcp" },
      { IP: "0.0.0.0", PrivatePort: 80, PublicPort: 8080, Type: "tcp" },
      { IP: "::", PrivatePort: 80, PublicPort: 8080, Type: "tcp" },
    ]),
  ).toBe("443/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp");
});
