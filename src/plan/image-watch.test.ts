import { describe, expect, it, test } from "vitest";
import { replicated, withImage, withLabels } from "#manager/leader/testing/specs.ts";
import { SwarmLab } from "#manager/leader/testing/swarm-lab.ts";
import { IMAGE_LABELS } from "#model/service-labels.ts";
import type { Service } from "#wire/gen/swarmkit/objects_pb.js";
import { followedImage, followedTag, nextImage, readImageRules } from "./image-watch.ts";
import { newestMatch, parseRange } from "./semver.ts";

const TAGS = [
  "1.3.9",
  "1.4",
  "1.4.2",
  "v1.4.10",
  "1.4.11-rc1",
  "1.5.0",
  "2.0.0",
  "latest",
  "1.4.9-alpine",
  "0.3.1",
  "0.3.4",
];

describe("ranges of versions", () => {
  test.each([
    ["1.4.x", "v1.4.10"],
    ["1.4", "v1.4.10"],
    ["~1.4.2", "v1.4.10"],
    ["^1.4", "1.5.0"],
    ["1.x", "1.5.0"],
    ["*", "2.0.0"],
    [">=1.4 <1.5", "v1.4.10"],
    ["<=1.3", "1.3.9"],
    [">1.4", "2.0.0"],
    ["=1.4.2", "1.4.2"],
    ["^0.3.1", "0.3.4"],
    ["1.4.x-alpine", "1.4.9-alpine"],
    ["1.3.x || 0.x", "1.3.9"],
    ["3.x", undefined],
  ])("%s is %s", (text, tag) => {
    const range = parseRange(text);
    expect(range.ok && newestMatch(TAGS, range.value)).toBe(tag);
  });

  test.each(["", "latest", "1.4.x 1.5.x-alpine", "1..2", "||"])("%j is none", (text) => {
    expect(parseRange(text).ok).toBe(false);
  });
});

describe("a watched service", () => {
  const digest = (fill: string) => `sha256:${fill.repeat(64)}`;

  function watched(): SwarmLab {
    const swarm = new SwarmLab();
    swarm.addNode("n1");
    swarm.addService(
      "web",
      withLabels(replicated("web", 2, { image: "app:1.4.2" }), { [IMAGE_LABELS.watch]: "5m" }),
    );
    swarm.settle();
    return swarm;
  }

  const service = (swarm: SwarmLab) => swarm.view.get("service", "web") as Service;

  function step(swarm: SwarmLab, tag: string, fill: string) {
    const asked = followedImage(service(swarm));
    if (asked === undefined) throw new Error("no image");
    return nextImage(service(swarm), asked, { ...asked, tag, digest: digest(fill) });
  }

  /** As the leader does it. */
  function roll(swarm: SwarmLab, tag: string, fill: string): void {
    const next = step(swarm, tag, fill);
    if (next.kind !== "roll") throw new Error(next.reason);
    swarm.write("api", (tx) =>
      tx.update("service", { ...service(swarm), imageRolled: next.image }),
    );
    swarm.editService("web", () => next.spec);
  }

  it("goes to a new digest once, and not while it is being updated", () => {
    const swarm = watched();
    roll(swarm, "1.4.2", "a");
    swarm.settle();
    expect(step(swarm, "1.4.2", "b")).toEqual({ kind: "none", reason: "busy" });
    swarm.pass(60_000);
    expect(step(swarm, "1.4.2", "a")).toEqual({ kind: "none", reason: "current" });
    expect(step(swarm, "1.4.3", "b")).toMatchObject({
      kind: "roll",
      image: `app:1.4.3@${digest("b")}`,
    });
  });

  it("leaves a version alone that was rolled back, until there is another", () => {
    const swarm = watched();
    roll(swarm, "1.4.2", "a");
    swarm.pass(60_000);
    swarm.rollBack("web");
    swarm.pass(60_000);
    expect(step(swarm, "1.4.2", "a")).toEqual({ kind: "none", reason: "held" });
    expect(step(swarm, "1.4.2", "b").kind).toBe("roll");
  });

  it("is not changed when somebody else did meanwhile", () => {
    const swarm = watched();
    const asked = followedImage(service(swarm));
    swarm.editService("web", (spec) => withImage(spec, "other:1"));
    if (asked === undefined) throw new Error("no image");
    expect(nextImage(service(swarm), asked, asked)).toEqual({ kind: "none", reason: "changed" });
  });

  it("follows its tag, or the newest in its range", () => {
    const asked = { domain: "docker.io", path: "library/app", tag: "1.4.2", digest: undefined };
    const range = parseRange("1.4.x");
    expect(followedTag(asked, undefined, [])).toBe("1.4.2");
    expect(range.ok && followedTag(asked, range.value, TAGS)).toBe("v1.4.10");
  });

  it.each([
    [
      { [IMAGE_LABELS.watch]: "5m" },
      { ok: true, value: { intervalMs: 300_000, versions: undefined } },
    ],
    [{ [IMAGE_LABELS.watch]: "often" }, { ok: false }],
    [{ [IMAGE_LABELS.watch]: "10ms" }, { ok: false }],
    [{ [IMAGE_LABELS.versions]: "newest" }, { ok: false }],
    [{}, { ok: true, value: undefined }],
  ])("reads %o", (labels, rules) => {
    expect(
      readImageRules(withLabels(replicated("web", 1), labels as Record<string, string>)),
    ).toMatchObject(rules);
  });
});
