/**
 * The quick half of the gate: types, lint, format, import directions, unused code. Runs all of it
 * even when one fails, so that one run shows everything.
 */

import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { checkFile } from "./imports.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

interface CheckResult {
  readonly name: string;
  readonly ok: boolean;
  readonly output: string;
}

/** Runs every check; prints the output of those that fail. */
export async function runChecks(): Promise<boolean> {
  const bin = (name: string) => join(root, "node_modules/.bin", name);
  const results = [
    checkImports(),
    ...(await Promise.all([
      run("types", bin("tsc"), []),
      run("lint", bin("oxlint"), [
        "--type-aware",
        "--deny-warnings",
        "bin",
        "src",
        "sim",
        "test",
        "tools",
        "bench",
      ]),
    ])),
    await run("format", bin("biome"), ["check", "--diagnostic-level=error"]),
  ];
  for (const { name, ok, output } of results) {
    process.stdout.write(`${ok ? "ok  " : "FAIL"} ${name}\n`);
    if (!ok) process.stdout.write(`${output}\n`);
  }
  return results.every((result) => result.ok);
}

function checkImports(): CheckResult {
  const findings = sources("src").flatMap((path) =>
    checkFile(path, readFileSync(join(root, path), "utf8")),
  );
  return {
    name: "imports",
    ok: findings.length === 0,
    output: findings.map(({ path, line, message }) => `${path}:${line}: ${message}`).join("\n"),
  };
}

function sources(folder: string): readonly string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts") && !name.startsWith("wire/gen/"))
    .map((name) => `${folder}/${name}`);
}

function run(name: string, command: string, args: readonly string[]): Promise<CheckResult> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    child.stdout.on("data", (chunk) => (output += String(chunk)));
    child.stderr.on("data", (chunk) => (output += String(chunk)));
    child.on("close", (code) => resolve({ name, ok: code === 0, output }));
    child.on("error", (error) => resolve({ name, ok: false, output: error.message }));
  });
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exitCode = (await runChecks()) ? 0 : 1;
}
