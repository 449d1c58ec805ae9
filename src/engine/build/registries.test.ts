import { expect, test } from "vitest";
import { registriesConf, registryHosts } from "./registries.ts";

const USUAL = ["docker.io", "index.docker.io", "registry-1.docker.io"];

test("registries are found wherever a Dockerfile or an argument may name them", () => {
  const text = [
    "ARG R=reg.example.com",
    "FROM ghcr.io/a/b:1 AS x",
    "FROM ${R}/y",
    "COPY --from=localhost/i /a /b",
    "COPY --from=10.0.0.1:5000/i /a /b",
    "RUN --mount=from=Quay.io/z true",
  ].join("\n");
  expect(registryHosts([text, "registry:5000"])).toEqual([
    ...USUAL,
    "reg.example.com",
    "ghcr.io",
    "localhost",
    "10.0.0.1:5000",
    "quay.io",
    "registry:5000",
  ]);
});

test("a text of many words stays within bounds", () => {
  const text = Array.from({ length: 2000 }, (_, index) => `r${index}.example.com/x`).join(" ");
  expect(registryHosts([text])).toHaveLength(500);
});

test("every registry is led to its place", () => {
  const conf = registriesConf(["docker.io", "a.b:1"], ["127.0.0.1:9/s/h0", "127.0.0.1:9/s/h1"]);
  expect(conf).toContain(
    '[[registry]]\nprefix = "a.b:1"\nlocation = "127.0.0.1:9/s/h1"\ninsecure = true\n',
  );
  expect(conf).toContain('unqualified-search-registries = ["docker.io"]');
});
