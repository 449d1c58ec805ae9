import { expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { createImagePulls } from "./image-pulls.ts";

const NEVER = new AbortController().signal;

/** A registry that says nothing until it is told to; `present` is what this host has. */
function silentRegistry(present: boolean) {
  let report: () => void = () => undefined;
  let finish: () => void = () => undefined;
  let asked = 0;
  return {
    asked: () => asked,
    report: () => report(),
    finish: () => finish(),
    resolve: () =>
      present
        ? Promise.resolve({} as never)
        : Promise.reject(new EngineError("not-found", "No such image")),
    pull: (
      _reference: string,
      options: { readonly signal?: AbortSignal },
      onProgress: (message: never) => void,
    ) => {
      asked += 1;
      report = () => onProgress({} as never);
      return new Promise<void>((resolve, reject) => {
        finish = resolve;
        options.signal?.addEventListener("abort", () =>
          reject(new EngineError("cancelled", "context canceled")),
        );
      });
    },
  };
}

async function settledWithin<T>(promise: Promise<T>): Promise<T | "waiting"> {
  return Promise.race([promise, new Promise<"waiting">((go) => setImmediate(go, "waiting"))]);
}

test("a registry that stays silent: the image that is here is used after 3 s", async () => {
  const clock = new ManualClock();
  const registry = silentRegistry(true);
  const pulls = createImagePulls(registry, clock);
  const first = pulls.pull("web:demo", "", NEVER);
  await clock.advance(2999);
  expect(await settledWithin(first)).toBe("waiting");
  await clock.advance(1);
  expect(await first).toBe("the registry has not answered for 3 s");
  expect(await pulls.pull("web:demo", "", NEVER)).toBe("the registry has not answered for 3 s");
  expect(registry.asked()).toBe(1);
});

test("a registry that stays silent is waited for when the image is not here", async () => {
  const clock = new ManualClock();
  const registry = silentRegistry(false);
  const waiting = createImagePulls(registry, clock).pull("web:demo", "", NEVER);
  await clock.advance(60_000);
  expect(await settledWithin(waiting)).toBe("waiting");
  registry.finish();
  expect(await waiting).toBeUndefined();
});

test("a registry that has answered may take its time", async () => {
  const clock = new ManualClock();
  const registry = silentRegistry(true);
  const waiting = createImagePulls(registry, clock).pull("web:demo", "", NEVER);
  registry.report();
  await clock.advance(60_000);
  expect(await settledWithin(waiting)).toBe("waiting");
  registry.finish();
  expect(await waiting).toBeUndefined();
});
