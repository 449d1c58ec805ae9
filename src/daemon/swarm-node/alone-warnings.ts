/** What is said to whoever made a manager go on alone (`swarm init --force-new-cluster`). */

import type { AloneReport } from "#manager/raft/going-alone.ts";

export function aloneWarnings(report: AloneReport | undefined): readonly string[] {
  if (report === undefined) return [];
  const { lost, lastIndex, lastTerm, unconfirmed } = report;
  const names = lost.map(({ nodeId, addr }) => `${nodeId || "an unknown node"} (${addr || "?"})`);
  const others =
    lost.length === 0
      ? []
      : [
          `WARNING: The swarm goes on without the managers ${names.join(", ")}. They must not come back as they are: remove their nodes with 'docker node rm --force', and let them leave this swarm and join again.`,
        ];
  const unknown =
    unconfirmed === 0
      ? ""
      : ` Of the last ${unconfirmed} it is not known whether they had been accepted; they are kept.`;
  return [
    ...others,
    `WARNING: This manager had the changes up to number ${lastIndex} (raft term ${lastTerm}). What was acknowledged after that is lost.${unknown}`,
  ];
}
