import { expect, test } from "vitest";
import { IgnoreRules } from "./ignore.ts";

const ignored = (lines: readonly string[], paths: readonly string[]) => {
  const rules = new IgnoreRules(lines);
  return paths.filter((path) => rules.ignores(path));
};

test("names, stars and folders; what matches a folder matches what is in it", () => {
  const lines = ["# comment", "", "/a", "*.log", "sub/*/x", "./node_modules/", "b?"];
  const paths = ["a", "a/b", "x/a", "1.log", "x/1.log", "sub/1/x", "sub/1/2/x", "b1", "b12"];
  expect(ignored(lines, [...paths, "node_modules/m/i.js"])).toEqual([
    "a",
    "a/b",
    "1.log",
    "sub/1/x",
    "b1",
    "node_modules/m/i.js",
  ]);
});

test("two stars span folders", () => {
  const paths = ["x", "a/x", "a/b/x", "ax", "d/1", "d/1/2"];
  expect(ignored(["**/x", "d/**"], paths)).toEqual(["x", "a/x", "a/b/x", "d/1", "d/1/2"]);
});

test("the last that matches decides", () => {
  const paths = ["a/1", "a/keep", "a/keep/2"];
  expect(ignored(["a", "!a/keep"], paths)).toEqual(["a/1"]);
  expect(ignored(["!a/keep", "a"], paths)).toEqual(paths);
  expect(new IgnoreRules(["a"]).onlyExcludes).toBe(true);
  expect(new IgnoreRules(["a", "!b"]).onlyExcludes).toBe(false);
});

test("classes and escapes; a malformed one matches nothing", () => {
  expect(ignored(["[ab]", "\\*", "[z-a]"], ["a", "b", "c", "*", "z"])).toEqual(["a", "b", "*"]);
});

test("everything but one file", () => {
  expect(ignored(["*", "!x"], ["a", "x", "d/e"])).toEqual(["a", "d/e"]);
});
