/**
 * Runs the `quorum/` transcripts: `committed` and `vote` on a majority or a joint config. Beside the
 * answer itself it checks laws that must hold for any input, and prints where one does not.
 */

import { JointConfig } from "../quorum/joint.ts";
import {
  type AckedIndex,
  describeAcked,
  MajorityConfig,
  type VoteResult,
} from "../quorum/majority.ts";
import type { NodeId } from "../types.ts";
import type { Command } from "./datadriven.ts";

interface Case {
  readonly ids: readonly NodeId[];
  readonly jointIds: readonly NodeId[];
  readonly isJoint: boolean;
  /** One word per distinct voter in order of mention; `_` is "nothing heard". */
  readonly inputs: readonly string[];
}

export function runQuorumCommand(command: Command): string {
  const test = parseCase(command);
  const incoming = new MajorityConfig(test.ids);
  const outgoing = new MajorityConfig(test.jointIds);
  const voters = [...new Set([...test.ids, ...test.jointIds])];
  if (voters.length !== test.inputs.length) {
    return `error: mismatched input (explicit or _) for voters [${voters.join(" ")}]: [${test.inputs.join(" ")}]\n`;
  }
  const words = new Map(voters.map((id, position) => [id, test.inputs[position] ?? "_"]));
  for (const [id, word] of words) if (word === "_") words.delete(id);

  switch (command.name) {
    case "committed": {
      const acked: AckedIndex = (id) => {
        const word = words.get(id);
        return word === undefined ? undefined : Number(word);
      };
      return test.isJoint
        ? committedJointly(new JointConfig(incoming, outgoing), acked)
        : committedByMajority(incoming, acked);
    }
    case "vote": {
      const votes = new Map([...words].map(([id, word]) => [id, word === "y"]));
      const result = new JointConfig(incoming, outgoing).voteResult(votes);
      const mirrored = new JointConfig(outgoing, incoming).voteResult(votes);
      const plain = incoming.voteResult(votes);
      const deviation = mirrored === result ? "" : `${describeResult(mirrored)} <-- via symmetry\n`;
      return `${deviation}${describeResult(test.isJoint ? result : plain)}\n`;
    }
    default:
      return `unknown command: ${command.name}\n`;
  }
}

function parseCase({ args }: Command): Case {
  const valuesOf = (key: string) => args.find((arg) => arg.key === key)?.values;
  const joint = valuesOf("cfgj");
  return {
    ids: (valuesOf("cfg") ?? []).map(Number),
    jointIds: (joint ?? []).filter((word) => word !== "zero").map(Number),
    isJoint: joint !== undefined,
    inputs: valuesOf("idx") ?? valuesOf("votes") ?? [],
  };
}

function committedByMajority(config: MajorityConfig, acked: AckedIndex): string {
  const index = config.committedIndex(acked);
  const deviations = [
    check(index, naiveCommittedIndex(config, acked), "via alternative computation"),
    check(index, new JointConfig(config).committedIndex(acked), "via zero-joint quorum"),
    check(index, new JointConfig(config, config).committedIndex(acked), "via self-joint quorum"),
    ...config.ids.flatMap((id) => checkOverlays(config, acked, id, index)),
  ];
  return `${describeAcked(config, acked)}${deviations.join("")}${describeIndex(index)}\n`;
}

/** Lowering an acknowledgement that was below the committed index must not move that index. */
function checkOverlays(
  config: MajorityConfig,
  acked: AckedIndex,
  id: NodeId,
  index: number,
): readonly string[] {
  const own = acked(id) ?? 0;
  if (own === 0 || index <= own) return [];
  return [own - 1, 0].map((lower) => {
    const overlaid: AckedIndex = (other) => (other === id ? lower : acked(other));
    return check(index, config.committedIndex(overlaid), `overlaying ${id}->${lower}`);
  });
}

function committedJointly(config: JointConfig, acked: AckedIndex): string {
  const index = config.committedIndex(acked);
  const mirrored = new JointConfig(config.outgoing, config.incoming).committedIndex(acked);
  const deviation = check(index, mirrored, "via symmetry");
  return `${describeAcked(config.union(), acked)}${deviation}${describeIndex(index)}\n`;
}

/** The definition itself, slow and obvious: the highest index that a majority has reached. */
function naiveCommittedIndex(config: MajorityConfig, acked: AckedIndex): number {
  if (config.size === 0) return Number.POSITIVE_INFINITY;
  const reached = (index: number) => config.ids.filter((id) => (acked(id) ?? 0) >= index).length;
  const candidates = [0, ...config.ids.map((id) => acked(id) ?? 0)];
  return Math.max(...candidates.filter((index) => reached(index) * 2 > config.size));
}

function check(expected: number, actual: number, how: string): string {
  return actual === expected ? "" : `${describeIndex(actual)} <-- ${how}\n`;
}

function describeIndex(index: number): string {
  return Number.isFinite(index) ? String(index) : "∞";
}

function describeResult(result: VoteResult): string {
  const names = { pending: "VotePending", lost: "VoteLost", won: "VoteWon" } as const;
  return names[result];
}
