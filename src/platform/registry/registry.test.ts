import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseChallenges } from "./auth.ts";
import { endpointsOf, isInsecure } from "./endpoints.ts";
import { domainOf } from "./registry.ts";

describe("challenges", () => {
  test("a bearer challenge with quoted commas and escapes", () => {
    expect(
      parseChallenges(
        'Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull,push",error="a \\"b\\""',
      ),
    ).toEqual([
      {
        scheme: "bearer",
        parameters: {
          realm: "https://auth.example/token",
          service: "reg",
          scope: "repository:a/b:pull,push",
          error: 'a "b"',
        },
      },
    ]);
  });

  test("several challenges in one header, and bare values", () => {
    expect(parseChallenges('Basic realm=here, Negotiate, Bearer realm="x"')).toEqual([
      { scheme: "basic", parameters: { realm: "here" } },
      { scheme: "negotiate", parameters: {} },
      { scheme: "bearer", parameters: { realm: "x" } },
    ]);
  });

  test("any header is read to its end", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "binary", maxLength: 200 }),
        (text) => void parseChallenges(text),
      ),
    );
    expect(parseChallenges(`Bearer realm="${"a,".repeat(50_000)}`).length).toBeGreaterThan(0);
  });
});

describe("endpoints", () => {
  const config = { insecure: ["plain.example:5000", "10.0.0.0/8"], mirrors: [], certFolders: [] };

  test.each([
    ["localhost:5000", true],
    ["127.8.9.1", true],
    ["[::1]:5000", true],
    ["plain.example:5000", true],
    ["plain.example:5001", false],
    ["10.1.2.3:80", true],
    ["11.1.2.3", false],
    ["registry.example", false],
  ])("%s insecure: %s", (host, insecure) => {
    expect(isInsecure(host, config)).toBe(insecure);
    const bases = endpointsOf(host, config, "pull").map((endpoint) => endpoint.base);
    expect(bases).toEqual(insecure ? [`https://${host}`, `http://${host}`] : [`https://${host}`]);
  });

  test("mirrors come first, for pulls of docker.io only", () => {
    const mirrored = { ...config, mirrors: ["http://m.example/base/"] };
    expect(endpointsOf("docker.io", mirrored, "pull").map(({ base }) => base)).toEqual([
      "http://m.example/base",
      "https://registry-1.docker.io",
    ]);
    expect(endpointsOf("docker.io", mirrored, "push").map(({ base }) => base)).toEqual([
      "https://registry-1.docker.io",
    ]);
    expect(() => endpointsOf("docker.io", { ...config, mirrors: ["m.example"] }, "pull")).toThrow(
      "invalid mirror: m.example is not an http(s) URL",
    );
  });

  test("the address of a login names its registry", () => {
    expect(
      ["https://index.docker.io/v1/", "", "localhost:5000", "https://r.example/v2/"].map(domainOf),
    ).toEqual(["docker.io", "docker.io", "localhost:5000", "r.example"]);
  });
});
