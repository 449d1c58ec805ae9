/** What Debian's docker-compose makes of one project on both engines, command after command. */

import { execFile, spawn } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PLAIN_ENV } from "../../bench/lib/host.ts";
import { until } from "../lab/lab.ts";
import { normalText } from "./compare.ts";
import type { Pair, Side } from "./engines.ts";
import { wordsOf } from "./session.ts";

const PROGRAM = "/usr/bin/docker-compose";
export const HAS_COMPOSE = existsSync(PROGRAM);

/** `web` waits until `db` is healthy; `far` is of a profile, and its image is in a registry. */
const PROJECT = `
services:
  db:
    image: app:1
    init: true
    command: ["sh", "-c", "echo db up; exec sleep 1000"]
    volumes: ["data:/data"]
    ports: ["127.0.0.1:18080:80"]
    healthcheck: { test: ["CMD", "true"], interval: 1s }
  web:
    image: app:1
    init: true
    command: ["sh", "-c", "echo page > /page; echo web up; exec httpd -f -p 80 -h /"]
    environment: { MODE: test }
    depends_on: { db: { condition: service_healthy } }
    networks: { default: { aliases: [site] } }
  far:
    image: 127.0.0.1:5000/app:1
    init: true
    command: ["sleep", "1000"]
    profiles: [more]
volumes: { data: {} }
`;

const OVERRIDE = `
services:
  web: { environment: { MODE: changed }, labels: { a: b } }
`;

/** A service whose dependency never gets well. */
const SICK = `
services:
  ill:
    image: app:1
    init: true
    command: ["sleep", "1000"]
    healthcheck: { test: ["CMD", "false"], interval: 1s, retries: 1 }
  waits:
    image: app:1
    command: ["true"]
    depends_on: { ill: { condition: service_healthy } }
`;

const LINES: readonly string[] = `
config
--profile more pull -q far
up -d
ps
ps --services --filter status=running
logs --no-color --tail=5
exec -T web sh -c 'echo $MODE'
exec -T --index 1 -u ann -w /data -e A=b web sh -c 'pwd; echo $A; id -u'
exec -T web sh -c 'exit 3'
run --rm -T web wget -q -O - http://site/page
run --rm -T --no-deps -e MODE=run --entrypoint sh web -c 'echo $MODE'
run --rm -T nosuch
port db 80
port web 80
images
up -d --scale web=2
ps -q web
scale web=1
restart -t 0 web
pause web
ps web
unpause web
stop -t 0 web
start web
kill web
up -d web
--profile more up -d
--profile more ps far
-f docker-compose.yml -f other.yml up -d web
exec -T web sh -c 'echo $MODE'
-f sick.yml up -d waits
-f sick.yml rm -s -f ill waits
rm -s -f -v web
ps
--profile more down -v --remove-orphans
ps
`
  .split("\n")
  .filter((line) => line !== "");

interface Finished {
  readonly code: number;
  readonly output: string;
}

/** What differs, and the lines that were run. */
export async function composeSession(pair: Pair) {
  const [ours, theirs] = await Promise.all([pair.ours, pair.theirs].map(runProject));
  const unexplained = LINES.concat("events").flatMap((line, index) => {
    const [left, right] = [ours?.[index], theirs?.[index]];
    return JSON.stringify(left) === JSON.stringify(right)
      ? []
      : [`${line}\n${JSON.stringify(left)}, not\n${JSON.stringify(right)}`];
  });
  return { unexplained };
}

async function runProject(side: Side): Promise<readonly Finished[]> {
  const folder = join(side.engine.host.folder, "proj");
  mkdirSync(folder);
  writeFileSync(join(folder, "docker-compose.yml"), PROJECT);
  writeFileSync(join(folder, "other.yml"), OVERRIDE);
  writeFileSync(join(folder, "sick.yml"), SICK);
  const names = new Map([[folder, "DIR"], ...side.names()]);
  const outcomes: Finished[] = [];
  const compose = (words: readonly string[]) => run(side, folder, words);
  for (const line of LINES) {
    const { code, output } = await compose(wordsOf(line));
    outcomes.push({ code, output: normalOutput(output, names) });
  }
  await compose(["up", "-d", "db"]);
  outcomes.push({ code: 0, output: (await eventsOf(side, folder)).join(" ") });
  await compose(["down", "-v", "-t", "0"]);
  rmSync(folder, { recursive: true });
  return outcomes;
}

const TIMEOUT_MS = 60_000;

function options(side: Side, cwd: string) {
  return {
    cwd,
    env: { ...PLAIN_ENV, DOCKER_HOST: `unix://${side.engine.socket}`, HOME: cwd, COLUMNS: "200" },
  };
}

function run(side: Side, cwd: string, words: readonly string[]): Promise<Finished> {
  return new Promise((resolve) => {
    const child = execFile(
      PROGRAM,
      ["--ansi", "never", ...words],
      { ...options(side, cwd), timeout: TIMEOUT_MS },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : Number(error.code ?? -1);
        resolve({ code, output: `${stdout}\n${stderr}` });
      },
    );
    child.stdin?.end();
  });
}

/** What the events of a restart are, as compose tells them, from the process' end on. */
async function eventsOf(side: Side, cwd: string): Promise<readonly string[]> {
  const child = spawn(PROGRAM, ["events", "--json"], {
    ...options(side, cwd),
    stdio: ["ignore", "pipe", "ignore"],
  });
  const actions: string[] = [];
  let rest = "";
  child.stdout.on("data", (chunk: Buffer) => {
    rest += chunk.toString();
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines.filter((text) => text.trim() !== "")) {
      const { action, service } = JSON.parse(line) as Record<string, string>;
      actions.push(`${service}:${action}`);
    }
  });
  try {
    // It does not say when it listens: a signal that does nothing shows it.
    await until("compose tells of events", async () => {
      await run(side, cwd, ["kill", "-s", "WINCH", "db"]);
      return actions.length > 0;
    });
    await run(side, cwd, ["restart", "-t", "0", "db"]);
    await until("compose tells of the restart", () =>
      Promise.resolve(actions.includes("db:restart")),
    );
  } finally {
    child.kill();
  }
  // A kill is told before or after the end that it brings about.
  const known = actions.filter((action) => !/:(exec_|health_status|kill)/.test(action));
  return known.slice(known.indexOf("db:die"), known.indexOf("db:restart") + 1);
}

/** Both streams, in no order: compose works on several containers at once. */
function normalOutput(text: string, names: ReadonlyMap<string, string>): string {
  return (
    normalText(text, names)
      .split("\n")
      .map((line) => line.replaceAll(/ {2,}/g, "  ").replaceAll(/-{3,}/g, "---").trim())
      .map((line) => line.replaceAll(/[0-9.]+ ?[kM]?B\b/g, "SIZE"))
      // A list in the order of a hash table.
      .map((line) => line.replace(/(?<=orphan containers )\([^)]*\)/, (names) => inOrder(names)))
      .filter((line) => line !== "")
      .sort()
      .join("\n")
  );
}

function inOrder(list: string): string {
  return `(${list.slice(1, -1).split(", ").sort().join(", ")})`;
}
