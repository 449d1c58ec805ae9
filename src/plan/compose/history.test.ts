import { expect, test } from "vitest";
import { historyConfig, readRevision, sameServices } from "./history.ts";

const services = [{ Name: "app_web", TaskTemplate: { ContainerSpec: { Image: "web:1" } } }];
const plain = (text: string) => text;

test("a revision is read as it was noted, and goes with its stack", () => {
  const config = historyConfig("app", { revision: 3, back: 1, services }, plain);
  expect(config).toMatchObject({
    Name: "app_skep.history.3",
    Labels: { "com.docker.stack.namespace": "app", "skep.stack.revision": "3" },
  });
  expect(readRevision(config?.Data ?? "")).toEqual({ revision: 3, back: 1, services });
});

test("what is too large is not kept", () => {
  const large = [{ Name: "x".repeat(600_000) }];
  expect(historyConfig("app", { revision: 1, services: large }, plain)).toBeUndefined();
});

test.each([
  "",
  "{}",
  "null",
  '{"revision":1}',
  '{"revision":1,"services":[{}]}',
  '{"revision":"1","services":[]}',
])("%j is no revision", (text) => expect(readRevision(text)).toBeUndefined());

test("two revisions are alike when their services are", () => {
  const one = { revision: 1, services };
  expect(sameServices(one, { revision: 2, back: 1, services: [...services] })).toBe(true);
  expect(sameServices(one, { revision: 1, services: [] })).toBe(false);
});
