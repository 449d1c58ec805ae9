/**
 * Pulls for tasks. Tasks of one service come to a node together and want the same image: they share
 * one pull, and for a moment its outcome too, so that fifty tasks ask the registry once. A pull goes
 * on while anybody waits for it, but a registry that says nothing is no reason to wait long with an
 * image that is here: a task that moves from a dead host must not also wait out a dead resolver.
 */

import { EngineError, messageOf } from "#base/error.ts";
import type { Clock } from "#base/ports.ts";
import type { AuthConfig } from "#wire/docker/images.ts";
import type { ImageService } from "../ports.ts";

export interface ImagePulls {
  /**
   * Makes the image present where it can be: asks the registry unless the reference names a digest
   * that is here. Returns why the registry could not be used, if so; the image may be here anyway.
   */
  pull(reference: string, registryAuth: string, signal: AbortSignal): Promise<string | undefined>;
}

interface Shared {
  /** Resolves to the reason of a failure. */
  readonly done: Promise<string | undefined>;
  readonly abort: AbortController;
  waiting: number;
}

/** How long a registry may stay silent before the image that is here is used. */
const SILENCE_MS = 3000;
/** How long the outcome of a pull answers for the next task. */
const REMEMBER_MS = 10_000;

export function createImagePulls(
  images: Pick<ImageService, "resolve" | "pull">,
  clock: Clock,
): ImagePulls {
  const shared = new Map<string, Shared>();

  const start = (key: string, reference: string, registryAuth: string): Shared => {
    const abort = new AbortController();
    const auth = decodeAuth(registryAuth);
    const options = auth === undefined ? { signal: abort.signal } : { auth, signal: abort.signal };
    let answered = false;
    const silence = clock.setTimer(SILENCE_MS, () => {
      if (!answered) void stopIfPresent(reference, abort);
    });
    const done = images
      .pull(reference, options, () => {
        answered = true;
      })
      .then(
        () => undefined,
        (error: unknown) => messageOf(abort.signal.aborted ? abort.signal.reason : error),
      )
      .finally(() => silence.cancel());
    const entry: Shared = { done, abort, waiting: 0 };
    shared.set(key, entry);
    void forgetLater(key, entry);
    return entry;
  };

  const stopIfPresent = async (reference: string, abort: AbortController): Promise<void> => {
    if (!(await isPresent(images, reference))) return;
    const reason = `the registry has not answered for ${SILENCE_MS / 1000} s`;
    abort.abort(new EngineError("deadline-exceeded", reason));
  };

  const forgetLater = async (key: string, entry: Shared): Promise<void> => {
    await entry.done;
    clock.setTimer(REMEMBER_MS, () => {
      if (shared.get(key) === entry) shared.delete(key);
    });
  };

  return {
    pull: async (reference, registryAuth, signal) => {
      if (reference.includes("@") && (await isPresent(images, reference))) return undefined;
      const key = `${reference} ${registryAuth}`;
      const entry = shared.get(key) ?? start(key, reference, registryAuth);
      entry.waiting += 1;
      try {
        return await Promise.race([entry.done, aborted(signal)]);
      } finally {
        entry.waiting -= 1;
        if (entry.waiting === 0 && signal.aborted) {
          // Nobody is left to wait. If it was done already, this changes nothing.
          entry.abort.abort(signal.reason);
          if (shared.get(key) === entry) shared.delete(key);
        }
      }
    },
  };
}

async function isPresent(images: Pick<ImageService, "resolve">, reference: string) {
  try {
    await images.resolve(reference);
    return true;
  } catch {
    return false;
  }
}

/** The spec's credentials: X-Registry-Auth as the client sent it with the service. */
function decodeAuth(registryAuth: string): AuthConfig | undefined {
  if (registryAuth === "") return undefined;
  try {
    return JSON.parse(Buffer.from(registryAuth, "base64").toString("utf8")) as AuthConfig;
  } catch (error) {
    throw new EngineError("invalid-argument", "invalid registry credentials in the service", {
      cause: error,
    });
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const stop = () => reject(signal.reason as Error);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}
