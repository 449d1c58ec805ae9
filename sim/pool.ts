/** Runs seeds on all cores; results come in whatever order they end. */

import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { Assignment, Result } from "./worlds.ts";

/** The loader of TypeScript does not reach into threads by itself. */
const START_THREAD = `
  const { workerData } = require("node:worker_threads");
  import(workerData.loader).then(({ register }) => {
    register();
    return import(workerData.url);
  });
`;

export async function runAll(
  assignments: Iterable<Assignment>,
  onResult: (result: Result) => void,
): Promise<void> {
  const queue = assignments[Symbol.iterator]();
  const threads = Array.from({ length: availableParallelism() }, () => runThread(queue, onResult));
  await Promise.all(threads);
}

async function runThread(
  queue: Iterator<Assignment>,
  onResult: (result: Result) => void,
): Promise<void> {
  const worker = new Worker(START_THREAD, {
    eval: true,
    workerData: {
      loader: import.meta.resolve("tsx/esm/api"),
      url: import.meta.resolve("./worker.ts"),
    },
  });
  const next = (): boolean => {
    const { done, value } = queue.next();
    if (done === true) return false;
    worker.postMessage(value, []);
    return true;
  };
  try {
    await new Promise<void>((resolve, reject) => {
      worker.on("message", (result: Result) => {
        onResult(result);
        if (!next()) resolve();
      });
      worker.on("error", reject);
      if (!next()) resolve();
    });
  } finally {
    await worker.terminate();
  }
}
