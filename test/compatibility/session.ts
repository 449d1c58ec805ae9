/**
 * A long session on the command line, line after line: every command of docker's that concerns the
 * engine, with its flags. DIR is a folder of the run's; words are parted as a shell does it. A line
 * that begins with `<` followed by a text in brackets gets that text as its input.
 */

import { CONTAINERS } from "./session-containers.ts";
import { HOST } from "./session-host.ts";
import { SWARM } from "./session-swarm.ts";

export const SESSION: readonly string[] = `${CONTAINERS}${HOST}${SWARM}`
  .split("\n")
  .filter((line) => line.trim() !== "");

/** Words of a line, with 'quotes'. */
export function wordsOf(line: string): readonly string[] {
  const words: string[] = [];
  for (const match of line.matchAll(/(?:[^\s']+|'[^']*')+/g)) {
    words.push(match[0].replaceAll(/'([^']*)'/g, "$1").replaceAll("\\t", "\t"));
  }
  return words;
}
