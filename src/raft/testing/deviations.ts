/**
 * Where this core answers a published transcript differently, one entry per command, each with its
 * reason. The runner fails on a difference that is not listed, and on a listed one that is gone.
 */

export interface Deviation {
  /** Path below the transcripts' folder. */
  readonly file: string;
  /** Line of the command in that file. */
  readonly line: number;
  readonly reason: string;
  /** What this core prints instead. */
  readonly actual: string;
}

export const DEVIATIONS: readonly Deviation[] = [];
