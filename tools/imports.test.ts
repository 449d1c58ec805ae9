import { expect, test } from "vitest";
import { checkFile, IMPORTS } from "./imports.ts";

function messages(path: string, text: string): readonly string[] {
  return checkFile(path, text).map((finding) => `${finding.line}: ${finding.message}`);
}

test.each([
  ["src/raft/a.ts", 'import { x } from "#base/invariant.ts";'],
  ["src/raft/a.ts", 'import { x } from "./log.ts";'],
  ["src/api/a.ts", 'import type { X } from "#engine/ports.ts";'],
  ["src/raft/a.test.ts", 'import { readFileSync } from "node:fs";'],
  ["src/platform/a.ts", "await Promise.resolve(Date.now());"],
  ["src/plan/a.ts", "// a Promise in a comment\nconst text = 'await Date.now()';"],
])("%s may say %s", (path, text) => {
  expect(messages(path, text)).toEqual([]);
});

test.each([
  ["src/raft/a.ts", 'import { x } from "#store/store.ts";', "1: src/raft may not import src/store"],
  [
    "src/raft/a.ts",
    '\nimport {\n  a,\n  b,\n} from "node:fs";',
    "5: src/raft is pure and may not import node:fs",
  ],
  [
    "src/raft/a.ts",
    'export { y } from "#raft/b.ts";',
    "1: inside src/raft, import by a relative path",
  ],
  [
    "src/api/a.ts",
    'import { run } from "#engine/x.ts";',
    "1: src/api may import only types of src/engine",
  ],
  ["src/cli/a.ts", 'const m = import("#daemon/x.ts");', "1: src/cli may not import src/daemon"],
  [
    "src/plan/a.ts",
    "const t = Date.now();",
    "1: Date.now is not pure: take the time as an argument",
  ],
  [
    "src/plan/a.ts",
    "x;\nsetTimeout(() => 1, 2);",
    "2: setTimeout is not pure: return a wake-up time",
  ],
  ["src/new/a.ts", "x;", "1: src/new is not a domain; the table is tools/imports.ts"],
])("%s may not say %s", (path, text, message) => {
  expect(messages(path, text)).toEqual([message]);
});

test("the table has no cycle: every domain imports only what stands before it, or a port's types", () => {
  const order = Object.keys(IMPORTS);
  const ports = new Set(["engine→agent"]);
  for (const [domain, targets] of Object.entries(IMPORTS)) {
    for (const target of targets) {
      if (ports.has(`${domain}→${target}`)) continue;
      expect(order.indexOf(target), `${domain} → ${target}`).toBeLessThan(order.indexOf(domain));
    }
  }
});
