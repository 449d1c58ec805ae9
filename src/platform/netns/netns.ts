/**
 * Other network namespaces. `setns` moves the calling thread alone, so a visit is synchronous: in,
 * the section, back, with no await between. Inside it, sockets are created, processes spawned and
 * `/proc/sys/net` written in the visited namespace; what was created stays there afterwards.
 *
 * Asynchronous `fs`, `dns` and `crypto` run on pool threads that never leave the engine's own
 * namespace: a section must not use them.
 */

import { closeSync, openSync, readlinkSync } from "node:fs";
import koffi from "koffi";
import { EngineError, messageOf } from "#base/error.ts";
import { invariant } from "#base/invariant.ts";

const CLONE_NEWNET = 0x40000000;

type SetNs = (fd: number, kind: number) => number;
let setns: SetNs | undefined;

function loadSetns(): SetNs {
  setns ??= koffi.load("libc.so.6").func("int setns(int fd, int nstype)") as SetNs;
  return setns;
}

/** Runs `section` in the namespace at `path` ("/proc/PID/ns/net", "/run/netns/NAME"). */
export function runInNetns<T>(path: string, section: () => T): T {
  const enter = loadSetns();
  const home = openSync("/proc/thread-self/ns/net", "r");
  try {
    const target = openNamespace(path);
    try {
      if (enter(target, CLONE_NEWNET) !== 0) {
        throw new EngineError(
          "failed-precondition",
          `cannot enter the network namespace ${path}: ${describeErrno()}`,
        );
      }
    } finally {
      closeSync(target);
    }
    try {
      const value = section();
      invariant(!(value instanceof Promise), "a section in another namespace must not be async");
      return value;
    } finally {
      // A thread that stays abroad would program the wrong machine from here on.
      invariant(enter(home, CLONE_NEWNET) === 0, "cannot return to the engine's own namespace");
    }
  } finally {
    closeSync(home);
  }
}

/** The same, or in the engine's own namespace when `path` is undefined. */
export function runInNetnsOrHere<T>(path: string | undefined, section: () => T): T {
  return path === undefined ? section() : runInNetns(path, section);
}

/** "net:[4026531840]": two paths with one identity are one namespace. Undefined when it is gone. */
export function netnsIdentity(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function openNamespace(path: string): number {
  try {
    return openSync(path, "r");
  } catch (error) {
    throw new EngineError(
      "not-found",
      `the network namespace ${path} is gone: ${messageOf(error)}`,
      { cause: error },
    );
  }
}

function describeErrno(): string {
  const errno = koffi.errno();
  const name = Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0];
  return name ?? `error ${errno}`;
}
