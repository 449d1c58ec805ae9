/** Waiting for a container: until it does not run, until its next end, until it is gone. */

import { EngineError } from "#base/error.ts";
import type { WaitResult } from "../ports.ts";
import type { Container } from "./container.ts";
import { isAlive } from "./state.ts";

export async function waitForContainer(
  container: Container,
  condition: "not-running" | "next-exit" | "removed",
  signal?: AbortSignal,
): Promise<WaitResult> {
  const { phase } = container.state;
  const rests = !isAlive(phase) && phase !== "restarting";
  if (condition === "not-running" && rests) return { statusCode: container.state.exitCode };
  const release: (() => void)[] = [];
  try {
    const statusCode = await new Promise<number>((resolve, reject) => {
      const cancel = () => reject(new EngineError("cancelled", "the wait was given up"));
      if (signal?.aborted) return cancel();
      signal?.addEventListener("abort", cancel, { once: true });
      release.push(() => signal?.removeEventListener("abort", cancel));
      void container.removed.then(resolve);
      if (condition === "removed") return;
      const listen = () => {
        const stop = container.onExit(({ exitCode, final }) => {
          if (condition === "next-exit" || final) resolve(exitCode);
          else listen();
        });
        release.push(stop);
      };
      listen();
    });
    return { statusCode };
  } finally {
    for (const step of release) step();
  }
}
