/**
 * How far a node's clock is off, by one question and answer: the leader read its clock at some moment
 * between the two. Only what that moment cannot explain counts.
 */

/** Less is no trouble for anybody; certificates bear an hour. */
export const SKEW_WARNED_MS = 30_000;

/** Milliseconds by which our clock is ahead (positive) or behind (negative), at least; 0 if it may be right. */
export function clockSkewMs(askedMs: number, leaderMs: number, answeredMs: number): number {
  if (leaderMs < askedMs) return askedMs - leaderMs;
  if (leaderMs > answeredMs) return answeredMs - leaderMs;
  return 0;
}

/** For people; undefined while it is not worth a word. */
export function skewWarning(skewMs: number): string | undefined {
  if (Math.abs(skewMs) < SKEW_WARNED_MS) return undefined;
  const seconds = Math.round(Math.abs(skewMs) / 1_000);
  const direction = skewMs > 0 ? "ahead of" : "behind";
  return `WARNING: the clock of this node is ${seconds} s ${direction} the swarm's leader. Certificates bear an hour.`;
}
