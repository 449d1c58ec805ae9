/**
 * What of the store's forms a manager understands. All members must read an entry alike, so a leader
 * writes what is new only when every manager knows it: the cluster object holds the level that may be
 * in use, and it rises when the last manager runs a program that knows more. It never falls: what was
 * written stays. Fields that only add to an object need no level, because managers keep what they do
 * not know; new kinds, actions, and fields that change what others mean do.
 *
 * | level | since then |
 * |---|---|
 * | 0 | managers that know of no levels |
 * | 1 | managers that know more than the swarm uses, and refuse to run where it uses more than they know; address plug-ins of the swarm's networks |
 */

/** From where managers know address plug-ins; older ones would give such networks subnets of their own. */
export const ADDRESS_PLUGINS_LEVEL = 1;

declare const SKEP_FEATURE_LEVEL: number | undefined;

/** What this program knows; a drill of upgrades may be built with another number. */
export const FEATURE_LEVEL = typeof SKEP_FEATURE_LEVEL === "number" ? SKEP_FEATURE_LEVEL : 1;

/** Why a program that knows `known` may not manage a swarm that uses `used`; undefined if it may. */
export function levelRefusal(used: number, known: number): string | undefined {
  if (known >= used) return undefined;
  return (
    `this swarm uses features of level ${used}, and this version of skep knows them up to level ${known}: ` +
    "run a version on this node that is as new as those of the other managers"
  );
}

/** The level that may be used now; undefined if that is no more than before. */
export function nextLevel(used: number, managers: readonly number[]): number | undefined {
  if (managers.length === 0) return undefined;
  const common = Math.min(...managers);
  return common > used ? common : undefined;
}
