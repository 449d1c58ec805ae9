/** Runs the session's lines by one command line against one engine. */

import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { rootValidity } from "#pki/profile.ts";
import { realRandom } from "#platform/real-ports.ts";
import { createRoot } from "#platform/x509/issue.ts";
import { PLAIN_ENV } from "../../bench/lib/host.ts";
import { makeTar } from "../images/fixtures.ts";
import { type Names, normalText } from "./compare.ts";
import type { Side } from "./engines.ts";
import { wordsOf } from "./session.ts";

export interface Outcome {
  readonly line: string;
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const TIMEOUT_MS = 20_000;
const OUTPUT_MAX_BYTES = 1 << 26;

/** `program` is a command with its first words: ["/usr/bin/docker"], [node, "bin/skep"]. */
export async function runSession(
  program: readonly string[],
  side: Side,
  lines: readonly string[],
): Promise<readonly Outcome[]> {
  const folder = join(side.engine.host.folder, "session");
  await prepareFolder(folder);
  const names = new Map([[folder, "DIR"], ...side.names()]);
  const outcomes: Outcome[] = [];
  for (const line of lines) {
    const input = /^< \(([^)]*)\) /.exec(line);
    const words = wordsOf(line.slice(input?.[0].length ?? 0)).map((word) =>
      word
        .replaceAll("DIR", folder)
        .replaceAll("HOSTNAME", hostname())
        .replaceAll("BLOCK", blockDevice()),
    );
    const finished = await run(
      [...program, ...words],
      side.engine.socket,
      folder,
      input?.[1]?.replaceAll("\\n", "\n"),
    );
    outcomes.push({
      line,
      code: finished.code,
      stdout: normalOutput(finished.stdout, names),
      stderr: normalOutput(finished.stderr, names),
    });
  }
  rmSync(folder, { recursive: true });
  return outcomes;
}

/** Any of the machine's: limits need a real one. */
function blockDevice(): string {
  const name = readdirSync("/sys/block").find((found) => existsSync(`/dev/${found}`));
  return `/dev/${name ?? "none"}`;
}

async function prepareFolder(folder: string): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  writeFileSync(join(folder, "env"), "FROM_FILE=1\n");
  writeFileSync(join(folder, "labels"), "one=1\ntwo=\n");
  writeFileSync(join(folder, "root.tar"), await makeTar([{ name: "file", content: "x\n" }]));
  const { cert, key } = await createRoot(rootValidity(Date.now()), realRandom);
  writeFileSync(join(folder, "ca.pem"), cert);
  writeFileSync(join(folder, "ca.key"), key);
  writeFileSync(join(folder, "stack.yml"), STACK);
  mkdirSync(join(folder, "context"));
  writeFileSync(join(folder, "context/file"), "sent\n");
  writeFileSync(join(folder, "context/Dockerfile"), STAGES);
  writeFileSync(join(folder, "context/limits"), LIMITED);
}

const STAGES = `FROM app:1 AS first
ARG GIVEN=no
ENV TOLD=$GIVEN
WORKDIR /sub
COPY file .
FROM first AS second
CMD ["sh", "-c", "cat file; echo $TOLD"]
FROM scratch AS third
`;

const LIMITED = `FROM app:1
RUN [ "$(ulimit -n)" = 100 ]
`;

/** On no node, so that what runs is no matter of this session. */
const STACK = `version: "3.8"
services:
  a:
    image: app:1
    command: ["sleep", "1000"]
    deploy: { replicas: 0, labels: { x: "y" } }
`;

function run(
  [program = "", ...args]: readonly string[],
  socket: string,
  folder: string,
  input: string | undefined,
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  const env = {
    ...PLAIN_ENV,
    DOCKER_HOST: `unix://${socket}`,
    DOCKER_CONFIG: folder,
    // What dockerd 20.10 speaks: with more, a newer command line would say more to us than to it.
    DOCKER_API_VERSION: "1.41",
    // dockerd's classic builder, which is the one that we have.
    DOCKER_BUILDKIT: "0",
  };
  return new Promise((resolve) => {
    const options = { env, timeout: TIMEOUT_MS, maxBuffer: OUTPUT_MAX_BYTES };
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr });
    });
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(input ?? "");
  });
}

/** What two runs never share is replaced, and columns are as wide as they are. */
function normalOutput(text: string, names: Names): string {
  return normalText(text, names)
    .replaceAll(/\b\d+(\.\d+)? ?[kMG]?B\b/g, "SIZE")
    .replaceAll(
      /(About a minute|Less than a second|\d+ (seconds?|minutes?|months?|years?))/g,
      "A WHILE",
    )
    .replaceAll(/^[0-9a-z]{12}$/gm, "ID12")
    .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? \+0000 (utc|UTC)/g, "TIME")
    .replaceAll(/^([^ ]+ +)\d+$/gm, (line, name: string) =>
      /^(docker-init|sleep) /.test(name) ? `${name}PID` : line,
    )
    .replaceAll(/ {2,}/g, "  ")
    .replaceAll(/[ \t]+$/gm, "");
}
