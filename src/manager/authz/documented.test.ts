/** docs/threat-model.md shows the authorization table; what it shows is what the table is. */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { RULES } from "./rules.ts";

function rows(): readonly string[] {
  const groups = new Map<string, string[]>();
  for (const [path, { access, answeredBy }] of RULES) {
    const [, service = "", method = ""] = path.split("/");
    const key = `| ${access} | ${answeredBy} | ${service.split(".").at(-1) ?? ""} |`;
    groups.set(key, [...(groups.get(key) ?? []), method]);
  }
  return [...groups].map(([key, methods]) => `${key} ${methods.join(", ")} |`).sort();
}

test("the documented table is the one that is enforced", () => {
  const text = readFileSync(new URL("../../../docs/threat-model.md", import.meta.url), "utf8");
  const shown = text.split("\n").filter((line) => /^\| (anyone|node|manager|member) \|/.test(line));
  expect(shown).toEqual(rows());
});
