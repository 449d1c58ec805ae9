/** A thread that runs the seeds that it is sent. */

import { parentPort } from "node:worker_threads";
import { type Assignment, runWorld } from "./worlds.ts";

const port = parentPort;
port?.on("message", (assignment: Assignment) => {
  runWorld(assignment).then(
    (result) => port.postMessage(result, []),
    (error: unknown) => {
      // A crash of the simulator itself: the thread ends, and the main one says so.
      throw error;
    },
  );
});
