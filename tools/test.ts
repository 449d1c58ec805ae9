/**
 * `./dev test`: the checks, then the unit tests, then the real-kernel tests (root needed). Closes
 * with one line that counts all tests, for people and for continuous integration. Arguments go to
 * the test runner and narrow it: `./dev test src/raft`.
 */

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { runChecks } from "./check.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Files with a failed test in them. */
  readonly broken: readonly string[];
}

/**
 * Real-kernel tests share their machine with whatever else runs on it. So many files, and no more, are run
 * once more when they failed, and named at the end: what passes only then is a bug still to be found.
 */
const MAX_SECOND_TRIES = 3;

/** Runs one vitest project; a runner that dies without a report counts as one failure. */
async function runProject(project: string, filters: readonly string[]): Promise<Counts> {
  const folder = mkdtempSync(join(tmpdir(), "skep-test-report-"));
  const report = join(folder, "report.json");
  const args = ["run", "--project", project, "--passWithNoTests", "--reporter=default"];
  args.push("--reporter=json", `--outputFile.json=${report}`, ...filters);
  const status = await new Promise<number>((resolve) => {
    const child = spawn(join(root, "node_modules/.bin/vitest"), args, {
      cwd: root,
      stdio: ["ignore", "inherit", "inherit"],
    });
    child.on("close", (code) => resolve(code ?? 1));
  });
  const counts = readReport(report);
  rmSync(folder, { recursive: true });
  if (counts === undefined) return { passed: 0, failed: 1, skipped: 0, broken: [] };
  return status !== 0 && counts.failed === 0 ? { ...counts, failed: 1 } : counts;
}

function readReport(path: string): Counts | undefined {
  try {
    const report = JSON.parse(readFileSync(path, "utf8")) as {
      numPassedTests: number;
      numFailedTests: number;
      numFailedTestSuites: number;
      numPendingTests: number;
      testResults: readonly { name: string; status: string }[];
    };
    const failed = Math.max(report.numFailedTests, report.numFailedTestSuites > 0 ? 1 : 0);
    const broken = report.testResults
      .filter(({ status }) => status === "failed")
      .map(({ name }) => relative(root, name));
    return { passed: report.numPassedTests, failed, skipped: report.numPendingTests, broken };
  } catch {
    return undefined;
  }
}

interface KernelRun {
  readonly counts: Counts;
  /** Files that failed first and passed when run again. */
  readonly unsteady: readonly string[];
}

async function runKernel(filters: readonly string[]): Promise<KernelRun> {
  const first = await runProject("kernel", filters);
  const { broken } = first;
  if (broken.length === 0 || broken.length > MAX_SECOND_TRIES)
    return { counts: first, unsteady: [] };
  process.stdout.write(`\nfailed, and run once more: ${broken.join(" ")}\n`);
  const second = await runProject("kernel", broken);
  const passed = first.passed + Math.max(0, first.failed - second.failed);
  const counts = { ...first, passed, failed: second.failed, broken: second.broken };
  return { counts, unsteady: second.failed === 0 ? broken : [] };
}

async function main(filters: readonly string[]): Promise<number> {
  const checked = await runChecks();
  const all: Counts[] = [await runProject("unit", filters)];
  if (process.getuid?.() === 0) {
    const { counts, unsteady } = await runKernel(filters);
    all.push(counts);
    for (const file of unsteady) process.stdout.write(`passed only the second time: ${file}\n`);
  } else process.stdout.write("not root: the real-kernel tests of test/ were NOT run\n");
  const sum = (pick: (counts: Counts) => number) => all.reduce((n, counts) => n + pick(counts), 0);
  const failed = sum((counts) => counts.failed) + (checked ? 0 : 1);
  process.stdout.write(
    `\n${sum((counts) => counts.passed)} passed, ${failed} failed, ${sum((counts) => counts.skipped)} skipped\n`,
  );
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
