/** Runs the `confchange/` transcripts: a membership that is changed step by step. */

import { err, ok, type Result } from "#base/result.ts";
import { enterJoint, leaveJoint, simple } from "../confchange/changer.ts";
import { describeConfig, EMPTY_TRACKER_CONFIG } from "../tracker/config.ts";
import type { Membership, ProgressMap } from "../tracker/tracker.ts";
import { type ConfChangeSingle, type ConfChangeType, NO_LIMIT } from "../types.ts";
import type { Command } from "./datadriven.ts";

const CHANGE_OF_LETTER: ReadonlyMap<string, ConfChangeType> = new Map([
  ["v", "addNode"],
  ["l", "addLearnerNode"],
  ["r", "removeNode"],
  ["u", "updateNode"],
]);

/** `v1 l2 r3 u4`: make 1 a voter, 2 a learner, remove 3, update 4. */
export function parseConfChanges(text: string): Result<readonly ConfChangeSingle[]> {
  const changes: ConfChangeSingle[] = [];
  for (const word of text.split(/\s+/).filter((word) => word !== "")) {
    const type = CHANGE_OF_LETTER.get(word.charAt(0));
    if (type === undefined) return err(`unknown input: ${word}`);
    changes.push({ type, nodeId: Number(word.slice(1)) });
  }
  return ok(changes);
}

export class ConfChangeScript {
  #membership: Membership = { config: EMPTY_TRACKER_CONFIG, progress: new Map() };
  /** Rises with every command, so that `next` tells in which one a progress was made. */
  #lastIndex = 0;

  run(command: Command): string {
    const next = this.#change(command);
    this.#lastIndex++;
    if (!next.ok) return `${next.error}\n`;
    this.#membership = next.value;
    return `${describeConfig(next.value.config)}\n${describeProgressMap(next.value.progress)}`;
  }

  #change({ name, args, input }: Command): Result<Membership> {
    const changes = parseConfChanges(input);
    if (!changes.ok) return changes;
    const context = { lastIndex: this.#lastIndex, maxInflightMsgs: 10, maxInflightBytes: NO_LIMIT };
    switch (name) {
      case "simple":
        return simple(this.#membership, context, changes.value);
      case "enter-joint": {
        const autoLeave = args.some((arg) => arg.key === "autoleave" && arg.values?.[0] === "true");
        return enterJoint(this.#membership, context, autoLeave, changes.value);
      }
      case "leave-joint":
        return changes.value.length > 0
          ? err("this command takes no input")
          : leaveJoint(this.#membership, context);
      default:
        return err("unknown command");
    }
  }
}

export function describeProgressMap(progress: ProgressMap): string {
  return [...progress].map(([id, member]) => `${id}: ${member.toString()}\n`).join("");
}
