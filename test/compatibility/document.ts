/** `docs/compatibility.md`, from what the tests found. */

import { reasonWithout } from "#cli/without.ts";
import type { Accepted } from "./accepted.ts";
import type { Finding } from "./ask-both.ts";
import { wholeName } from "./commands.ts";
import type { CommandFinding, SessionFindings } from "./sessions.ts";
import { commandReason, reasonOf } from "./unasked.ts";

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

const REFUSALS_BELOW = "[refusals](#refusals-in-other-words)";

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
    const of = (wanted: Accepted["kind"]) =>
      sorted(
        rows
          .filter(({ kind }) => kind === wanted)
          .map(({ why, isRefusal }) => (isRefusal === true ? REFUSALS_BELOW : why)),
      );
    const differs = of("ours");
    const newer = of("newer").filter((why) => !differs.includes(why));
    const state =
      finding.refusal !== undefined ? "refused" : differs.length > 0 ? "differs" : "works";
    const remarks = [
      ...(finding.refusal === undefined ? [] : [finding.refusal]),
      ...differs,
      ...(newer.length === 0 ? [] : [`as Docker 28: ${newer.join("; ")}`]),
    ];
    lines.push(
      `| \`${endpoint}\` | ${state} | ${finding.requests} | ${cell(remarks.join("; "))} |`,
    );
  }
  return `${lines.join("\n")}\n`;
}

/** What the two say, wherever it is not the same. */
export function refusalTable(findings: ReadonlyMap<string, Finding>): string {
  const rowsOf = (wanted: Accepted["kind"]) =>
    [...findings.keys()].sort(byPath).flatMap((endpoint) =>
      sorted(
        (findings.get(endpoint)?.told ?? [])
          .filter(({ kind }) => kind === wanted)
          .map(({ ours, theirs }) => {
            const same = ours.slice(4).toLowerCase() === theirs.slice(4).toLowerCase();
            return `| \`${endpoint}\` | ${said(ours)} | ${same ? `${theirs.slice(0, 3)}, the same words` : said(theirs)} |`;
          }),
      ),
    );
  const table = ["| endpoint | this engine | dockerd 20.10 |", "|---|---|---|"];
  return [
    "## Refusals in other words",
    "",
    "As Docker 28 says them:",
    "",
    ...table,
    ...rowsOf("newer"),
    "",
    "As only this engine says them:",
    "",
    ...table,
    ...rowsOf("ours"),
    "",
  ].join("\n");
}

const SAID_MAX = 240;

function said(text: string): string {
  return cell(text.length > SAID_MAX ? `${text.slice(0, SAID_MAX)}…` : text);
}

/** Nothing in it ends a table's cell or is taken for a tag. */
function cell(text: string): string {
  return text.replaceAll(/\s+/g, " ").replaceAll("|", "\\|").replaceAll("<", "&lt;");
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

export function commandTable(session: SessionFindings, own: Flags): string {
  const { byCommand } = session;
  const lines = [
    "## Commands",
    "",
    "Both docker command lines (20.10 and, where installed, 28), the same session on both engines.",
    "Exit codes and output are compared. The column `skep` tells of our own command line: it takes all",
    "flags of the command (*all*), all but some, or it refuses, and why.",
    "",
    "| command | | lines | flags not in the session, and why | `skep` | remarks |",
    "|---|---|---|---|---|---|",
  ];
  const flagsOf = allFlags(session);
  const rest = unaskedFlags(session);
  for (const path of [...flagsOf.keys()].sort()) {
    const finding = byCommand.get(path);
    const refused = own.get(path) === undefined;
    const state = refused
      ? "refused"
      : finding === undefined
        ? "–"
        : finding.why.size > 0
          ? "differs"
          : "works";
    const why = finding === undefined ? [commandReason(path) ?? ""] : [...finding.why];
    const missing = finding === undefined ? "" : grouped(path, rest.get(path) ?? new Set());
    const lacks = ownState(path, own.get(path), flagsOf.get(path) ?? new Set());
    const remarks = sorted(why).join("; ");
    lines.push(
      `| \`${path}\` | ${state} | ${finding?.lines ?? 0} | ${missing} | ${lacks} | ${remarks} |`,
    );
  }
  return `${lines.join("\n")}\n`;
}

/** "--a --b: why; --c: why". */
function grouped(path: string, flags: ReadonlySet<string>): string {
  const groups = new Map<string, string[]>();
  for (const flag of flags) {
    const why = reasonOf(path, flag) ?? "?";
    groups.set(why, [...(groups.get(why) ?? []), `--${flag}`]);
  }
  return [...groups].map(([why, names]) => `${names.join(" ")}: ${why}`).join("; ");
}

/** Whole name of a command → the flags of either command line, without those for Kubernetes. */
function allFlags({ commands }: SessionFindings): ReadonlyMap<string, ReadonlySet<string>> {
  const found = new Map<string, Set<string>>();
  for (const [path, { names }] of commands) {
    const whole = wholeName(path);
    const flags = [...names].filter((name) => !RETIRED.has(name));
    found.set(whole, new Set([...(found.get(whole) ?? []), ...flags]));
  }
  return found;
}

/** Flags that no line of the session has; of commands that no line has, all. */
export function unaskedFlags(session: SessionFindings): ReadonlyMap<string, ReadonlySet<string>> {
  const { byCommand } = session;
  return new Map(
    [...allFlags(session)].map(([path, flags]) => {
      const asked = new Set([
        ...(byCommand.get(path)?.flags ?? []),
        ...(SAME_FLAGS.get(path)?.(byCommand) ?? []),
      ]);
      return [path, new Set([...flags].filter((flag) => !asked.has(flag)))];
    }),
  );
}

/** Commands and flags that neither a line asks nor a reason excuses. */
export function forgotten(session: SessionFindings): readonly string[] {
  return [...unaskedFlags(session)].flatMap(([path, flags]) => {
    if (!session.byCommand.has(path)) return commandReason(path) === undefined ? [path] : [];
    return [...flags]
      .filter((flag) => reasonOf(path, flag) === undefined)
      .map((flag) => `${path} --${flag}`);
  });
}

/** Lines of the session that print something else. */
export function lineTable({ told }: SessionFindings): string {
  const lines = [
    "## Lines that print something else",
    "",
    "| line | this engine | dockerd 20.10 | |",
    "|---|---|---|---|",
    ...told.map(
      ({ line, ours, theirs, why }) =>
        `| \`${cell(line)}\` | ${said(ours)} | ${said(theirs)} | ${why} |`,
    ),
  ];
  return `${lines.join("\n")}\n`;
}

/** How our own command line has a command of docker's. */
function ownState(
  path: string,
  own: ReadonlySet<string> | undefined,
  flags: ReadonlySet<string>,
): string {
  if (own === undefined) return `refuses: ${reasonFor(path)}`;
  const lacks = [...flags].filter((flag) => !own.has(flag));
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
  ["image build", (found: Lookup) => found.get("builder build")?.flags ?? []],
  ["builder build", (found: Lookup) => found.get("image build")?.flags ?? []],
]);
