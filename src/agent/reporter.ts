/**
 * Brings task statuses to a manager, in order per task and until one has taken them. Only the
 * newest status of a task waits: what it overtakes need not be told. One call is under way at a
 * time and carries everything that has gathered since the last; without a session it all waits.
 */

import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import type { TaskStatus } from "#wire/gen/swarmkit/types_pb.js";

export interface StatusUpdate {
  readonly taskId: string;
  readonly status: TaskStatus;
}

/** Hands statuses to the manager of the current session. */
export type StatusSender = (updates: readonly StatusUpdate[]) => Promise<void>;

export interface Reporter {
  report(taskId: string, status: TaskStatus): void;
  /** Reports everything anew: a manager that was just met may have missed anything. */
  reportAll(statuses: ReadonlyMap<string, TaskStatus>): void;
  /** A session began (or, with undefined, ended). A sender that fails is unbound. */
  bind(sender: StatusSender | undefined): void;
  /** How many tasks wait to be reported. */
  readonly waiting: number;
}

const BATCH_MAX = 500;

export function createReporter(log: Log): Reporter {
  const waiting = new Map<string, TaskStatus>();
  let sender: StatusSender | undefined;
  let sending = false;

  const add = (taskId: string, status: TaskStatus): void => {
    const known = waiting.get(taskId);
    // An older report is kept only if it is further on, which a replay at a session's start may be.
    if (known === undefined || known.state <= status.state) waiting.set(taskId, status);
  };

  const settle = (updates: readonly StatusUpdate[]): void => {
    for (const { taskId, status } of updates) {
      if (waiting.get(taskId) === status) waiting.delete(taskId);
    }
  };

  const send = async (to: StatusSender, updates: readonly StatusUpdate[]): Promise<void> => {
    try {
      await to(updates);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      // The manager refuses a call as a whole; find out which of its tasks it does not want.
      if (updates.length > 1) {
        for (const update of updates) await send(to, [update]);
        return;
      }
      log.info("the manager does not want a task status", {
        task: updates[0]?.taskId,
        reason: messageOf(error),
      });
    }
    settle(updates);
  };

  const pump = async (): Promise<void> => {
    if (sending) return;
    sending = true;
    try {
      while (sender !== undefined && waiting.size > 0) {
        const to: StatusSender = sender;
        const updates = [...waiting]
          .slice(0, BATCH_MAX)
          .map(([taskId, status]) => ({ taskId, status }));
        try {
          await send(to, updates);
        } catch (error) {
          log.info("reporting task statuses waits for a session", {
            reason: EngineError.from(error).message,
          });
          if (sender === to) sender = undefined;
        }
      }
    } finally {
      sending = false;
    }
  };

  return {
    get waiting() {
      return waiting.size;
    },
    report: (taskId, status) => {
      add(taskId, status);
      void pump();
    },
    reportAll: (statuses) => {
      for (const [taskId, status] of statuses) add(taskId, status);
      void pump();
    },
    bind: (next) => {
      sender = next;
      void pump();
    },
  };
}

/** The manager answered, and its answer is about the task and not about the session. */
export function isRefusal(error: unknown): boolean {
  return (
    isErrorCode(error, "permission-denied") &&
    messageOf(error) === "cannot update a task not assigned this node"
  );
}
