/**
 * Looking at a slot: which of its tasks shall run, which cannot, whether and when one that stopped
 * may be tried again. All of it follows from the stored tasks and the time, so that a new leader
 * goes on exactly where the old one was.
 */

import { RESTART_DELAY_MS, restartRulesOf } from "#model/defaults.ts";
import { isDown, isDrained, losesTasks } from "#model/node.ts";
import { endedByItself, holdsNode, isTerminal, isWanted, stateOf } from "#model/task.ts";
import { msOfTimestamp } from "#model/time.ts";
import type { Node, Task } from "#wire/gen/swarmkit/objects_pb.js";
import {
  RestartPolicy_RestartCondition as Condition,
  TaskState,
} from "#wire/gen/swarmkit/types_pb.js";

/** How long a successor waits for its predecessor to stop before it starts all the same. */
export const STOP_WAIT_MS = 60_000;
/** A task that did its work for a shorter time than this, and its restart delay, failed quickly. */
const QUICK_MS = 10_000;
/** So many quick failures in a row are answered with the plain delay, docker's; then it doubles. */
const PLAIN_DELAYS = 3;
/** What is doubled is no less than this, also for those who asked for no delay. */
const BACKOFF_MIN_MS = 100;
/** It grows to so many times the delay, and for short ones to so long a time. */
const BACKOFF_MAX = 8;
const BACKOFF_MAX_MS = 10_000;

export interface Slot {
  readonly key: string;
  /** 0n where the slot is a node. */
  readonly number: bigint;
  readonly nodeId: string;
  readonly tasks: Map<string, Task>;
}

export type NodeLookup = (nodeId: string) => Node | undefined;

export function createdMs(task: Task): number {
  return msOfTimestamp(task.meta?.createdAt) ?? 0;
}

/** When a task that is not wanted any more was last heard of; told to stop it was before. */
export function toldMs(task: Task): number {
  return msOfTimestamp(task.meta?.updatedAt) ?? createdMs(task);
}

/** When the status was written, by the clock of a manager where there is one. */
export function statusMs(task: Task): number {
  return msOfTimestamp(task.status?.appliedAt) ?? msOfTimestamp(task.status?.timestamp) ?? 0;
}

/** All tasks of a slot, the oldest first. */
export function historyOf(slot: Slot): Task[] {
  const tasks = [...slot.tasks.values()];
  if (tasks.length < 2) return tasks;
  return tasks.sort(
    (a, b) => createdMs(a) - createdMs(b) || b.desiredState - a.desiredState || compare(a.id, b.id),
  );
}

export function wantedOf(slot: Slot): Task[] {
  return historyOf(slot).filter(isWanted);
}

/** A wanted task that does its work no more: it stopped, or its node cannot keep it. */
export function isBroken(task: Task, nodeOf: NodeLookup): boolean {
  if (!isWanted(task)) return false;
  if (isTerminal(task)) return true;
  return task.nodeId !== "" && losesTasks(nodeOf(task.nodeId));
}

/** Whether its restart policy lets a stopped task have a successor. */
export function mayRestart(slot: Slot, task: Task, isJob = false): boolean {
  const rules = restartRulesOf(task.spec);
  const completed = stateOf(task) === TaskState.COMPLETE;
  if (rules.condition === Condition.NONE) return false;
  if (completed && (isJob || rules.condition === Condition.ON_FAILURE)) return false;
  if (rules.maxAttempts === 0) return true;
  const history = historyOf(slot);
  const upTo = history.slice(0, history.indexOf(task) + 1);
  const other = upTo.findLastIndex((one) => !sameVersion(one, task));
  // Since the version was given to the slot all but the first are restarts; the reaper keeps enough.
  const restarts = upTo.slice(other + 2);
  if (rules.windowMs === 0) return restarts.length < rules.maxAttempts;
  const since = statusMs(task) - rules.windowMs;
  return restarts.filter((other) => createdMs(other) > since).length < rules.maxAttempts;
}

/** Nothing runs here and nothing shall, by the restart policy: the slot is done, not empty. */
export function isHeld(slot: Slot, isJob = false): boolean {
  const newest = historyOf(slot).at(-1);
  if (newest === undefined || newest.desiredState !== TaskState.SHUTDOWN) return false;
  const none = restartRulesOf(newest.spec).condition === Condition.NONE;
  return (none || endedByItself(newest)) && !mayRestart(slot, newest, isJob);
}

/**
 * When a task that is only to get ready may start: when its predecessor has stopped, and if that one
 * ended by itself, after the restart delay. Infinity while a predecessor is still meant to run, unless
 * the task is to run beside it first.
 */
export function startMs(slot: Slot, task: Task, nodeOf: NodeLookup, isBeside = false): number {
  const history = historyOf(slot);
  const earlier = history.slice(0, history.indexOf(task));
  let atMs = createdMs(task) + delayBefore(task, attemptsIn(earlier), nodeOf);
  for (const other of earlier) {
    if (!holdsNode(other) || isLost(nodeOf(other.nodeId))) continue;
    if (isWanted(other)) {
      if (isBeside) continue;
      return Number.POSITIVE_INFINITY;
    }
    atMs = Math.max(atMs, toldMs(other) + STOP_WAIT_MS);
  }
  return atMs;
}

/** Before this a task that failed while it waited for its start is not tried again. */
export function retryMs(slot: Slot, task: Task, nodeOf: NodeLookup): number {
  const history = historyOf(slot);
  const earlier = history.slice(0, history.indexOf(task));
  return createdMs(task) + delayBefore(task, attemptsIn(earlier), nodeOf);
}

/** The task that another was to replace may still run beside it; what counts is how attempts went. */
function attemptsIn(tasks: readonly Task[]): readonly Task[] {
  return tasks.filter((task) => !isWanted(task) || isTerminal(task));
}

function delayBefore(task: Task, earlier: readonly Task[], nodeOf: NodeLookup): number {
  const last = earlier.at(-1);
  if (last === undefined || !endedByItself(last) || !sameVersion(last, task)) return 0;
  if (isDrained(nodeOf(last.nodeId))) return 0;
  const waitMs = backoffMs(task);
  if (stateOf(last) !== TaskState.COMPLETE) return waitMs;
  // What succeeds over and over is run as often as was asked for.
  return Math.min(waitMs, Math.max(restartRulesOf(task.spec).delayMs, RESTART_DELAY_MS));
}

/** How long a task waits that follows so many quick failures. */
function backoffMs({ spec, quickFailures }: Task): number {
  const { delayMs } = restartRulesOf(spec);
  const doubled = quickFailures - PLAIN_DELAYS;
  if (doubled <= 0) return delayMs;
  const mostMs = Math.max(delayMs * BACKOFF_MAX, BACKOFF_MAX_MS);
  return Math.min(Math.max(delayMs, BACKOFF_MIN_MS) * 2 ** doubled, mostMs);
}

/** What the successor of a task that has ended is to know of the failures before it. */
export function quickFailuresAfter(task: Task): number {
  const { delayMs } = restartRulesOf(task.spec);
  const succeeded = stateOf(task) === TaskState.COMPLETE && delayMs >= RESTART_DELAY_MS;
  if (!endedByItself(task) || succeeded) return 0;
  const livedMs = statusMs(task) - createdMs(task) - backoffMs(task);
  return livedMs < QUICK_MS + delayMs ? task.quickFailures + 1 : 0;
}

function isLost(node: Node | undefined): boolean {
  return node === undefined || isDown(node);
}

export function sameVersion(a: Task, b: Task): boolean {
  return a.specVersion?.index === b.specVersion?.index;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
