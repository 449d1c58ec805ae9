import { expect, test } from "vitest";
import { ok } from "#base/result.ts";
import { resolveConfig } from "./config.ts";
import { planReload } from "./reload.ts";

function config(file: Readonly<Record<string, unknown>>) {
  const result = resolveConfig([], () => ok(file));
  if (!result.ok) throw new Error(result.error);
  return result.value.config;
}

test("what may change is taken over, the rest is named", () => {
  const current = config({ labels: ["a=1"], "data-root": "/x" });
  const wanted = config({ labels: ["a=2"], debug: true, "data-root": "/y" });
  const plan = planReload(current, wanted);
  expect(plan.config).toEqual({ ...current, labels: ["a=2"], debug: true, logLevel: "debug" });
  expect(plan.changed).toEqual(["debug", "logLevel", "labels"]);
  expect(plan.later).toEqual(["dataRoot"]);
});

test("the same file again changes nothing", () => {
  const file = { "insecure-registries": ["r:5000"], "log-opts": { "max-size": "1m" } };
  expect(planReload(config(file), config(file))).toEqual({
    config: config(file),
    changed: [],
    later: [],
  });
});
