/** `docs/compatibility.md`, from what the tests found. */

import { reasonWithout } from "#cli/without.ts";
import type { Finding } from "./ask-both.ts";
import { wholeName } from "./commands.ts";
import type { CommandFinding, SessionFindings } from "./sessions.ts";

export const HEAD = `# Compatibility with Docker

This page is written by \`test/compatibility\`, which asks this engine and dockerd 20.10 the same and
compares statuses, types, the names, types and values of all fields, and what commands print. The test
fails when the page is not what it would write; \`SKEP_REWRITE=1\` lets it write.

*works* = the same as dockerd 20.10, or as Docker 28 where the two differ; what that is, is told.
*differs* = otherwise than both, and how. *refused* = not offered, and the words of the refusal.

## One swarm with Docker Engines

Shown with dockerd 20.10 by \`test/identity/docker-engine.test.ts\` and \`test/identity/docker-swarm.test.ts\`.

| | a Docker Engine as worker here | this engine as worker there |
|---|---|---|
| joins with \`swarm join\`, leaves | works | works |
| tasks, their states | works | works |
| secrets, configs | works | works |
| \`service logs\` on a manager | works | works |
| \`node update --availability drain\` | works | works |
| renews its certificate in time | works | works |
| follows \`swarm ca --rotate\` | works | works, an operator's own root too |
| overlay networks, the routing mesh | not placed there: \`no suitable node (networks of the swarm do not reach 1 node)\` | not placed here: \`no suitable node (missing plugin on 1 node)\` |
| as a manager | no: managers are of one kind | no: managers are of one kind |
`;

export function endpointTable(findings: ReadonlyMap<string, Finding>): string {
  const lines = [
    "## Endpoints of the Engine API",
    "",
    "| endpoint | | asked | remarks |",
    "|---|---|---|---|",
  ];
  for (const endpoint of [...findings.keys()].sort(byPath)) {
    const finding = findings.get(endpoint);
    if (finding === undefined) continue;
    const rows = [...finding.explained];
    const differs = rows.filter(({ kind }) => kind === "ours").map(({ why }) => why);
    const newer = rows.filter(({ kind }) => kind === "newer").map(({ why }) => why);
    const state =
      finding.refusal !== undefined ? "refused" : differs.length > 0 ? "differs" : "works";
    const remarks = [
      ...(finding.refusal === undefined ? [] : [finding.refusal]),
      ...sorted(differs),
      ...(newer.length === 0 ? [] : [`as Docker 28: ${sorted(newer).join("; ")}`]),
    ];
    const shown = remarks.join("; ").replaceAll("|", "\\|");
    lines.push(`| \`${endpoint}\` | ${state} | ${finding.requests} | ${shown} |`);
  }
  return `${lines.join("\n")}\n`;
}

function sorted(texts: readonly string[]): readonly string[] {
  return [...new Set(texts)].sort();
}

function byPath(a: string, b: string): number {
  const key = (endpoint: string) => endpoint.split(" ").reverse().join(" ");
  return key(a) < key(b) ? -1 : 1;
}

/** Whole name of a command → its flags. */
export type Flags = ReadonlyMap<string, ReadonlySet<string>>;

export function commandTable({ commands, byCommand }: SessionFindings, own: Flags): string {
  const lines = [
    "## Commands",
    "",
    "Both docker command lines (20.10 and, where installed, 28), the same session on both engines.",
    "Exit codes and output are compared. Commands that no line of the session uses do not concern the",
    "engine (contexts, manifests, trust, the client's configuration) or have tests of their own.",
    "The column `skep` tells of our own command line: it takes all flags of the command (*all*), all but",
    "some, or it refuses, and why.",
    "",
    "| command | | lines | flags not in the session | `skep` | remarks |",
    "|---|---|---|---|---|---|",
  ];
  const flagsOf = new Map<string, Set<string>>();
  for (const [path, { names }] of commands) {
    const whole = wholeName(path);
    flagsOf.set(whole, new Set([...(flagsOf.get(whole) ?? []), ...names]));
  }
  for (const path of [...flagsOf.keys()].sort()) {
    const finding = byCommand.get(path);
    const used = new Set([...(finding?.flags ?? []), ...(SAME_FLAGS.get(path)?.(byCommand) ?? [])]);
    const rest = [...(flagsOf.get(path) ?? [])].filter((flag) => !used.has(flag));
    const remarks = sorted([...(finding?.why ?? [])]).join("; ");
    const state = finding === undefined ? "–" : finding.why.size > 0 ? "differs" : "works";
    const missing = finding === undefined ? "" : rest.map((flag) => `--${flag}`).join(" ");
    const lacks = ownState(path, own.get(path), flagsOf.get(path) ?? new Set());
    lines.push(
      `| \`${path}\` | ${state} | ${finding?.lines ?? 0} | ${missing} | ${lacks} | ${remarks} |`,
    );
  }
  return `${lines.join("\n")}\n`;
}

/** How our own command line has a command of docker's. */
function ownState(
  path: string,
  own: ReadonlySet<string> | undefined,
  flags: ReadonlySet<string>,
): string {
  if (own === undefined) return `refuses: ${reasonFor(path)}`;
  const lacks = [...flags].filter((flag) => !own.has(flag) && !RETIRED.has(flag));
  return lacks.length === 0 ? "all" : `all but ${lacks.map((flag) => `--${flag}`).join(" ")}`;
}

/** Flags for Kubernetes, which docker itself no longer has. */
const RETIRED: ReadonlySet<string> = new Set([
  "default-stack-orchestrator",
  "kubeconfig",
  "kubernetes",
  "orchestrator",
]);

function reasonFor(path: string): string {
  const reason = reasonWithout(path);
  if (reason === undefined) throw new Error(`skep lacks "${path}", and no reason is told`);
  return reason;
}

type Lookup = ReadonlyMap<string, CommandFinding>;

/** Commands that take the flags of another, and do with them what that one does. */
const SAME_FLAGS: ReadonlyMap<string, (found: Lookup) => Iterable<string>> = new Map([
  ["container run", (found: Lookup) => found.get("container create")?.flags ?? []],
  ["container create", (found: Lookup) => found.get("container run")?.flags ?? []],
]);
