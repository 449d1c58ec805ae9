import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { choosePlatform, formatPlatform, parsePlatform } from "./image-platform.ts";
import {
  canonicalReference,
  familiarReference,
  layerCompression,
  MEDIA,
  parseImage,
  parseManifest,
  parseReference,
  withDefaultTag,
} from "./oci.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;
const OTHER = `sha256:${"cd".repeat(32)}`;

function read(text: string) {
  const parsed = parseReference(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}

describe("references", () => {
  test.each([
    ["busybox", "docker.io/library/busybox:latest", "busybox:latest"],
    ["busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"],
    ["docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"],
    ["index.docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"],
    ["user/app", "docker.io/user/app:latest", "user/app:latest"],
    ["localhost/app", "localhost/app:latest", "localhost/app:latest"],
    ["localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1"],
    ["[::1]:5000/a/b", "[::1]:5000/a/b:latest", "[::1]:5000/a/b:latest"],
    ["Host/app", "Host/app:latest", "Host/app:latest"],
    ["ghcr.io/a/b__c-d.e", "ghcr.io/a/b__c-d.e:latest", "ghcr.io/a/b__c-d.e:latest"],
    [`busybox@${DIGEST}`, `docker.io/library/busybox@${DIGEST}`, `busybox@${DIGEST}`],
    [`a:b@${DIGEST}`, `docker.io/library/a:b@${DIGEST}`, `a:b@${DIGEST}`],
  ])("%s", (text, canonical, familiar) => {
    const reference = withDefaultTag(read(text));
    expect(canonicalReference(reference)).toBe(canonical);
    expect(familiarReference(reference)).toBe(familiar);
  });

  test.each([
    ["", "invalid reference format"],
    ["Busybox", "invalid reference format: repository name (library/Busybox) must be lowercase"],
    ["a//b", "invalid reference format"],
    ["a:", "invalid reference format"],
    ["a:b:c", "invalid reference format"],
    ["-a", "invalid reference format"],
    ["a/../b", "invalid reference format"],
    [`a:${"t".repeat(129)}`, "invalid reference format"],
    ["a@sha256:12", "invalid reference format"],
    [`a@md5:${"0".repeat(32)}`, "invalid reference format: unsupported digest algorithm"],
    ["a/".repeat(150).concat("a"), "repository name must not be more than 255 characters"],
    [
      "ab".repeat(32),
      `invalid repository name (${"ab".repeat(32)}), cannot specify 64-byte hexadecimal strings`,
    ],
  ])("refuses %j", (text, error) => {
    expect(parseReference(text)).toEqual({ ok: false, error });
  });

  test("what is printed reads back as the same reference", () => {
    const part = fc.stringMatching(/^[a-z0-9]{1,8}$/);
    const inputs = fc.record({
      host: fc.constantFrom("", "localhost:5000/", "r.example/", "docker.io/"),
      path: fc.array(part, { minLength: 1, maxLength: 3 }),
      tag: fc.option(fc.stringMatching(/^\w[\w.-]{0,10}$/)),
      digest: fc.boolean(),
    });
    fc.assert(
      fc.property(inputs, ({ host, path, tag, digest }) => {
        const suffix = (tag === null ? "" : `:${tag}`) + (digest ? `@${DIGEST}` : "");
        const reference = read(host + path.join("/") + suffix);
        expect(read(familiarReference(reference))).toEqual(reference);
        expect(read(canonicalReference(reference))).toEqual(reference);
      }),
    );
  });

  test("any text is read or refused, never thrown at", () => {
    fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => void parseReference(text)));
  });
});

describe("manifests", () => {
  const layer = { mediaType: MEDIA.dockerLayerGzip, digest: OTHER, size: 7 };
  const config = { mediaType: MEDIA.dockerConfig, digest: DIGEST, size: 5 };

  test("an image, an index, and what the text itself says wins over the header", () => {
    const image = parseManifest(
      JSON.stringify({ schemaVersion: 2, config, layers: [layer] }),
      MEDIA.dockerManifest,
    );
    expect(image).toEqual({
      ok: true,
      value: { kind: "manifest", mediaType: MEDIA.dockerManifest, config, layers: [layer] },
    });
    const entry = { ...config, platform: { os: "linux", architecture: "arm64", variant: "v8" } };
    const index = parseManifest(
      JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.ociIndex, manifests: [entry] }),
      "text/plain",
    );
    expect(index).toEqual({
      ok: true,
      value: { kind: "index", mediaType: MEDIA.ociIndex, manifests: [entry] },
    });
  });

  test.each([
    ["[]", "the manifest is not a JSON object"],
    ["{}", "the manifest's config: a descriptor is not an object"],
    [
      JSON.stringify({ config, layers: [], manifests: [] }),
      "the manifest is both an image and an index",
    ],
    [
      JSON.stringify({ config: { ...config, digest: "sha256:../../etc" }, layers: [] }),
      'the manifest\'s config: invalid digest "sha256:../../etc"',
    ],
    [
      JSON.stringify({ config: { ...config, size: -1 } }),
      `the manifest's config: invalid size of ${DIGEST}`,
    ],
    [
      JSON.stringify({ config, layers: Array.from({ length: 2000 }, () => layer) }),
      "the manifest lists more than 1024 entries",
    ],
  ])("refuses %.60s", (text, error) => {
    expect(parseManifest(text, "")).toEqual({ ok: false, error });
  });

  test("schema 1 is refused with a sentence", () => {
    const parsed = parseManifest('{"schemaVersion":1}', MEDIA.dockerSchema1);
    expect(!parsed.ok && parsed.error).toContain("schema 1 are not supported");
  });

  test("any JSON is read or refused, never thrown at", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        for (const value of [
          a,
          { config: a, layers: b },
          { manifests: a },
          { manifests: [a, b] },
        ]) {
          parseManifest(JSON.stringify(value), "");
        }
        for (const value of [a, { rootfs: a }, { rootfs: { diff_ids: a }, history: b }]) {
          parseImage(JSON.stringify(value));
        }
      }),
    );
    fc.assert(fc.property(fc.string(), (text) => void parseManifest(text, text)));
  });

  test("an image config keeps what it says, and must say its layers", () => {
    const text = JSON.stringify({
      os: "linux",
      architecture: "amd64",
      config: { Cmd: ["sh"], Unknown: 1 },
      rootfs: { type: "layers", diff_ids: [DIGEST] },
      history: [{ created_by: "x", empty_layer: true, other: 1 }],
    });
    expect(parseImage(text)).toEqual({
      ok: true,
      value: {
        os: "linux",
        architecture: "amd64",
        config: { Cmd: ["sh"], Unknown: 1 },
        rootfs: { type: "layers", diff_ids: [DIGEST] },
        history: [{ created_by: "x", empty_layer: true }],
      },
    });
    expect(parseImage("{}")).toEqual({ ok: false, error: "the image config has no rootfs" });
    expect(parseImage('{"rootfs":{"diff_ids":["x"]}}').ok).toBe(false);
  });

  test("layer compression by media type", () => {
    expect(
      [
        MEDIA.dockerLayer,
        MEDIA.dockerLayerGzip,
        MEDIA.ociLayer,
        MEDIA.ociLayerGzip,
        MEDIA.ociLayerZstd,
        "application/vnd.in-toto+json",
      ].map(layerCompression),
    ).toEqual(["none", "gzip", "none", "gzip", "zstd", undefined]);
  });
});

describe("platforms", () => {
  const host = { os: "linux", architecture: "amd64" };
  const entry = (platform: string, digest = DIGEST) => {
    const [os = "", architecture = "", variant] = platform.split("/");
    const more = variant === undefined ? {} : { variant };
    return { mediaType: "", digest, size: 1, platform: { os, architecture, ...more } };
  };

  test.each([
    ["linux/x86_64", "linux/amd64"],
    ["aarch64", "linux/arm64"],
    ["linux/arm64/v8", "linux/arm64"],
    ["linux/arm", "linux/arm/v7"],
    ["windows", "windows/amd64"],
    ["Linux/ARM/6", "linux/arm/v6"],
  ])("%s is %s", (text, normal) => {
    const parsed = parsePlatform(text, host);
    expect(parsed.ok && formatPlatform(parsed.value)).toBe(normal);
  });

  test("the best that runs is chosen: the newest variant not newer than the host", () => {
    const entries = ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6", "linux/arm64/v8"].map((text) =>
      entry(text),
    );
    const chosen = (wanted: string) => {
      const parsed = parsePlatform(wanted, host);
      const found = parsed.ok ? choosePlatform(entries, parsed.value) : undefined;
      return found?.platform === undefined ? undefined : formatPlatform(found.platform);
    };
    expect(chosen("linux/arm/v7")).toBe("linux/arm/v7");
    expect(chosen("linux/arm/v6")).toBe("linux/arm/v6");
    expect(chosen("linux/arm64")).toBe("linux/arm64/v8");
    expect(chosen("linux/amd64")).toBeUndefined();
  });

  test("attestations are not images, and an entry that does not say is the last choice", () => {
    const attestation = {
      ...entry("linux/amd64", OTHER),
      annotations: { "vnd.docker.reference.type": "attestation-manifest" },
    };
    const plain = { mediaType: "", digest: OTHER, size: 1 };
    expect(choosePlatform([attestation, plain, entry("linux/amd64")], host)?.digest).toBe(DIGEST);
    expect(choosePlatform([attestation, plain], host)).toBe(plain);
    expect(choosePlatform([attestation], host)).toBeUndefined();
  });

  test("nonsense is refused", () => {
    expect(parsePlatform("a/b/c/d", host).ok).toBe(false);
    expect(parsePlatform("linux/", host).ok).toBe(false);
  });
});
