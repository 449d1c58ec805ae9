/** `docs/compatibility.md`, from what the tests found. */

import type { Finding } from "./ask-both.ts";

export const HEAD = `# Compatibility with Docker

This page is written by \`test/compatibility\`, which asks this engine and dockerd 20.10 the same and
compares statuses, types, the names, types and values of all fields, and what commands print. The test
fails when the page is not what it would write; \`SKEP_REWRITE=1\` lets it write.

*works* = the same as dockerd 20.10, or as Docker 28 where the two differ; what that is, is told.
*differs* = otherwise than both, and how. *refused* = not offered, and the words of the refusal.
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
