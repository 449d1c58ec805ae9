import { expect, test } from "vitest";
import { parseBytes } from "#base/bytes.ts";
import { type FlagSpec, flagUsages, parseFlags } from "./pflag.ts";

const RUN: readonly FlagSpec[] = [
  { name: "interactive", short: "i", kind: "bool", usage: "Keep STDIN open" },
  { name: "tty", short: "t", kind: "bool", usage: "Allocate a pseudo-TTY" },
  { name: "rm", kind: "bool", usage: "Remove on exit" },
  { name: "env", short: "e", kind: "list", usage: "Set environment variables" },
  { name: "memory", short: "m", kind: "bytes", usage: "Memory limit" },
  { name: "time", kind: "int", usage: "Seconds" },
  { name: "delay", kind: "duration", usage: "Delay" },
];

function run(...argv: string[]) {
  return parseFlags(RUN, argv, { interspersed: false });
}

test("grouped shorts, repeated lists and the command after the image", () => {
  const parsed = run("-it", "--rm", "-eA=1", "-e", "B=2,3", "alpine", "sh", "-c", "ls --rm=x");
  if (!parsed.ok) throw new Error(parsed.error);
  expect(parsed.value.flags.bool("tty")).toBe(true);
  expect(parsed.value.flags.list("env")).toEqual(["A=1", "B=2,3"]);
  expect(parsed.value.args).toEqual(["alpine", "sh", "-c", "ls --rm=x"]);
});

test("booleans take =false, and the flag counts as given", () => {
  const parsed = run("--rm=false", "-t=0", "x");
  if (!parsed.ok) throw new Error(parsed.error);
  expect(parsed.value.flags.bool("rm")).toBe(false);
  expect(parsed.value.flags.has("rm")).toBe(true);
  expect(parsed.value.flags.bool("tty")).toBe(false);
});

test.each([
  [["--nope"], "unknown flag: --nope"],
  [["-z"], "unknown shorthand flag: 'z' in -z"],
  [["-iz"], "unknown shorthand flag: 'z' in -iz"],
  [["--env"], "flag needs an argument: --env"],
  [["-e"], "flag needs an argument: 'e' in -e"],
  [
    ["--time", "x"],
    'invalid argument "x" for "--time" flag: strconv.ParseInt: parsing "x": invalid syntax',
  ],
  [["-m", "lots"], 'invalid argument "lots" for "-m, --memory" flag: invalid size: \'lots\''],
  [["--delay", "5"], 'invalid argument "5" for "--delay" flag: time: missing unit in duration "5"'],
])("%j is refused as pflag does", (argv, message) => {
  expect(run(...argv)).toEqual({ ok: false, error: message });
});

test("interspersed flags are read after arguments, and -- ends them", () => {
  const parsed = parseFlags(RUN, ["a", "--rm", "b", "--", "--tty"], { interspersed: true });
  if (!parsed.ok) throw new Error(parsed.error);
  expect(parsed.value.args).toEqual(["a", "b", "--tty"]);
  expect(parsed.value.flags.bool("tty")).toBe(false);
});

test.each([
  ["512m", 536870912],
  ["1.5g", 1610612736],
  ["64kb", 65536],
  ["10MiB", 10485760],
  ["7", 7],
  ["7b", 7],
  ["-1", -1],
])("%s is %i bytes", (text, bytes) => {
  expect(parseBytes(text)).toEqual({ ok: true, value: bytes });
});

test("help is aligned and sorted", () => {
  expect(flagUsages(RUN.slice(0, 3))).toBe(
    [
      "  -i, --interactive   Keep STDIN open",
      "      --rm            Remove on exit",
      "  -t, --tty           Allocate a pseudo-TTY",
    ].join("\n"),
  );
});
