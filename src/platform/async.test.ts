import { expect, test } from "vitest";
import { deferred, Semaphore } from "./async.ts";

/** Sections that run until they are let go, and how many have begun. */
function sections(semaphore: Semaphore, count: number) {
  const ends = Array.from({ length: count }, () => deferred());
  let begun = 0;
  const runs = ends.map((end) =>
    semaphore.run(async () => {
      begun += 1;
      await end.promise;
    }),
  );
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  return {
    begun: async () => {
      await settle();
      return begun;
    },
    end: (index: number) => ends[index]?.resolve(),
    all: () => Promise.all(runs),
  };
}

test("a semaphore runs as many as it has room for, in order", async () => {
  const work = sections(new Semaphore(2), 4);
  expect(await work.begun()).toBe(2);
  work.end(0);
  expect(await work.begun()).toBe(3);
  for (const index of [1, 2, 3]) work.end(index);
  await work.all();
});

test("more room admits who waits; less lets end what runs, and then holds", async () => {
  const semaphore = new Semaphore(1);
  const work = sections(semaphore, 6);
  expect(await work.begun()).toBe(1);
  semaphore.setLimit(3);
  expect(await work.begun()).toBe(3);
  semaphore.setLimit(1);
  work.end(0);
  work.end(1);
  expect(await work.begun()).toBe(3);
  work.end(2);
  expect(await work.begun()).toBe(4);
  for (const index of [3, 4, 5]) work.end(index);
  await work.all();
  expect(await work.begun()).toBe(6);
});
