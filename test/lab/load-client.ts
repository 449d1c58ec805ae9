/**
 * A steady load of short TCP connections, each with one question and one answer, begun at their time
 * whether or not the ones before have ended: who is slow does not lessen the load. A program of its own,
 * so that what its test does meanwhile does not slow it down: `load-client.ts RATE ADDRESS...`. It says
 * "begun", prints a `LoadProgress` on a line now and then, and ends with its standard input; then it
 * prints a `LoadResult`.
 */

import { connect } from "node:net";

export interface LoadProgress {
  /** Answers so far, by who answered. */
  readonly by: Readonly<Record<string, number>>;
  readonly failures: readonly string[];
}

export interface LoadResult {
  readonly answered: number;
  readonly failures: readonly string[];
  /** Connections begun in a second, as it really was. */
  readonly rate: number;
  /** Milliseconds from the time at which a connection was due to its end. */
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** Connections that were begun later than this after their time, because the client had no turn. */
  readonly late: number;
}

/** Longer than three tries of a lost SYN (1, 2 and 4 seconds). */
const TIMEOUT_MS = 10_000;
const TICK_MS = 2;
const PROGRESS_MS = 100;
const LATE_MS = 100;
/** A client that had no turn for long does not make up for it with more than it has descriptors for. */
const OPEN_MAX = 500;
const FAILURES_MAX = 50;

const [rateText, ...addresses] = process.argv.slice(2);
const rate = Number(rateText);
const targets = addresses.map((address) => {
  const at = address.lastIndexOf(":");
  return { host: address.slice(0, at).replace(/[[\]]/g, ""), port: Number(address.slice(at + 1)) };
});

const begunMs = performance.now();
const took: number[] = [];
const failures: string[] = [];
const by: Record<string, number> = {};
let failed = 0;
let begun = 0;
let late = 0;
let open = 0;
let ending = false;

function fail(what: string, dueMs: number, port: number | undefined): void {
  failed += 1;
  if (failures.length >= FAILURES_MAX) return;
  const age = Math.round(performance.now() - dueMs);
  const when = new Date(Date.now() - age).toISOString().slice(11, 23);
  failures.push(`${when} from port ${port ?? "?"}, after ${age} ms: ${what}`);
}

function count(answer: string, dueMs: number): void {
  took.push(performance.now() - dueMs);
  const [name = ""] = answer.split(" ");
  by[name] = (by[name] ?? 0) + 1;
}

function begin(dueMs: number): void {
  const target = targets[begun % targets.length];
  if (target === undefined) throw new Error("no address");
  begun += 1;
  open += 1;
  if (performance.now() - dueMs > LATE_MS) late += 1;
  const socket = connect(target);
  let answer = "";
  let phase = "connecting";
  // A socket that has failed does not know it any more.
  let port: number | undefined;
  let over = false;
  const end = (problem: string | undefined) => {
    if (over) return;
    over = true;
    open -= 1;
    if (problem === undefined) count(answer, dueMs);
    else fail(`${target.host} ${phase}: ${problem}`, dueMs, port ?? socket.localPort);
    socket.destroy();
    if (ending && open === 0) finish();
  };
  socket.setTimeout(TIMEOUT_MS, () => end("timeout"));
  socket.on("connect", () => {
    phase = "asking";
    port = socket.localPort;
    socket.write("hello\n");
  });
  socket.on("data", (data) => {
    answer += String(data);
  });
  socket.on("error", (error) => end(error.message));
  socket.on("end", () => end(answer.endsWith("\n") ? undefined : `ended after "${answer}"`));
}

const timer = setInterval(() => {
  const nowMs = performance.now();
  for (;;) {
    const dueMs = begunMs + (begun * 1_000) / rate;
    if (dueMs > nowMs || open >= OPEN_MAX) return;
    begin(dueMs);
  }
}, TICK_MS);

const progress = setInterval(() => {
  const told: LoadProgress = { by, failures };
  process.stdout.write(`${JSON.stringify(told)}\n`);
}, PROGRESS_MS);

function finish(): void {
  clearInterval(progress);
  const seconds = (stoppedMs - begunMs) / 1_000;
  const sorted = took.toSorted((a, b) => a - b);
  const at = (share: number) =>
    Number((sorted[Math.floor((sorted.length - 1) * share)] ?? 0).toFixed(2));
  const more = failed > failures.length ? [`and ${failed - failures.length} more`] : [];
  const result: LoadResult = {
    answered: took.length,
    failures: [...failures, ...more],
    rate: Math.round(begun / seconds),
    p50: at(0.5),
    p99: at(0.99),
    max: at(1),
    late,
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
  process.exit();
}

let stoppedMs = 0;
process.stdin.resume().on("end", () => {
  clearInterval(timer);
  stoppedMs = performance.now();
  ending = true;
  if (open === 0) finish();
});
process.stdout.write("begun\n");
