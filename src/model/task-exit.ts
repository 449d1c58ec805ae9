/** How a task's own failure is told, by whatever runs it to the agent that reports it. */

import { EngineError } from "#base/error.ts";

/** The task's process ended with a code that is not zero. */
export class TaskExitError extends EngineError {
  readonly exitCode: number;

  /** `detail` says why, where that is known ("dockerexec: unhealthy container"). */
  constructor(exitCode: number, detail?: string) {
    const suffix = detail === undefined || detail === "" ? "" : `: ${detail}`;
    super("unknown", `task: non-zero exit (${exitCode})${suffix}`, { retryable: false });
    this.exitCode = exitCode;
  }
}
