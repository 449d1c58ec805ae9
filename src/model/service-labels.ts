/**
 * The labels by which a service asks for what SwarmKit's spec has no field for. Apart from the code
 * that reads them, because the command line names them and must not load a manager's objects for it.
 */

export const ROLLOUT_LABELS = {
  strategy: "skep.update.strategy",
  canary: "skep.update.canary",
  weight: "skep.update.canary.weight",
  analysis: "skep.update.analysis",
  promotion: "skep.update.promotion",
  keep: "skep.update.keep",
  deadline: "skep.update.deadline",
} as const;

/** What must have come up before a new version of the service is started: "db=healthy,migrate=completed". */
export const START_LABEL = "skep.start-after";

export const IMAGE_LABELS = {
  /** How often the registry is asked: "5m". */
  watch: "skep.image.watch",
  /** Which versions are followed: "1.4.x", "^2.1", ">=3 <5"; without it the tag as it is. */
  versions: "skep.image.versions",
} as const;
