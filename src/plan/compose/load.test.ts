/** Reading Compose files beyond what docker's recordings show: variables, merging, hostile files. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { START_LABEL } from "#model/service-labels.ts";
import { parseDotEnv } from "./dot-env.ts";
import { type ComposeSurroundings, mergeCompose, readCompose } from "./load.ts";
import { planStack } from "./plan.ts";
import { describeError } from "./refusal.ts";

function surroundings(env: Readonly<Record<string, string>> = {}): ComposeSurroundings {
  return { places: { workingDir: "/srv/app", home: "/root" }, lookup: (name) => env[name] };
}

function load(texts: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const around = surroundings(env);
  const sources = texts.map((text, index) => ({ name: `f${index}.yml`, text }));
  const read = readCompose(sources, around);
  return read.ok ? mergeCompose(read.value, around, new Map()) : read;
}

function service(texts: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const project = load(texts, env);
  if (!project.ok) throw new Error(describeError(project.error));
  return project.value.services["web"] as Readonly<Record<string, unknown>>;
}

function refused(...texts: readonly string[]): string {
  const project = load(texts);
  if (!project.ok) return describeError(project.error);
  const plan = planStack(project.value, "st", new Map());
  return plan.ok ? "accepted" : describeError(plan.error);
}

const web = (...lines: readonly string[]) =>
  ["services:", "  web:", "    image: busybox", ...lines.map((line) => `    ${line}`)].join("\n");

describe("files that name others", () => {
  const FILES: Readonly<Record<string, string>> = {
    "/srv/app/base/common.yml": `
services:
  base:
    image: base:1
    profiles: [never]
    environment: { A: base, B: base }
    volumes: ["./data:/data"]
    deploy: { replicas: 3 }
  round: { extends: round }
`,
    "/srv/app/far.yml": "services:\n  it: { image: 'far:1', command: [run], hostname: 7 }",
    "/srv/app/db/compose.yml": `
services:
  db: { image: 'db:1', volumes: ["./files:/files", "data:/data"], networks: [back] }
networks: { back: {} }
volumes: { data: {} }
`,
    "/srv/app/team/compose.yml":
      'services: { cache: { image: "redis:${TAG}", volumes: ["./c:/c"], environment: [MODE, "WHO=${BASE}"] } }',
    "/srv/app/one.env": "TAG=6\nMODE=one",
    "/srv/app/two.env": "TAG=7-${BASE}\nBASE=none",
    "/srv/app/bad.env": "A=1\nB='",
  };

  function project(text: string) {
    const around = surroundings({ BASE: "caller" });
    const sources = [{ name: "compose.yml", text }];
    const more = new Map<string, string>();
    for (;;) {
      const read = readCompose(sources, around, more);
      if (!read.ok) return read;
      if (read.value.missing.length === 0) return mergeCompose(read.value, around, new Map());
      for (const name of read.value.missing) more.set(name, FILES[name] ?? "services: {}");
    }
  }

  function made(text: string) {
    const read = project(text);
    if (!read.ok) throw new Error(describeError(read.error));
    return read.value;
  }

  it("extends: another service is what it begins with, its paths are its own file's", () => {
    const { services } = made(
      web("environment: [B=web]", "extends: { file: base/common.yml, service: base }"),
    );
    expect(services["web"]).toEqual({
      image: "busybox",
      environment: { A: "base", B: "web" },
      volumes: [{ type: "bind", source: "/srv/app/base/data", target: "/data" }],
      deploy: { replicas: 3 },
    });
    expect(made("services: { a: { image: x }, b: { extends: a, hostname: h } }").services).toEqual({
      a: { image: "x" },
      b: { image: "x", hostname: "h" },
    });
  });

  it("include: a project beside this one, from its own folder", () => {
    const { services, networks, volumes } = made(`include: [db/compose.yml]\n${web()}`);
    expect(Object.keys(services).sort()).toEqual(["db", "web"]);
    expect(services["db"]).toMatchObject({
      volumes: [{ source: "/srv/app/db/files" }, { source: "data" }],
    });
    expect([Object.keys(networks), Object.keys(volumes)]).toEqual([["back"], ["data"]]);
  });

  it("include: with variables and a folder of its own", () => {
    const { services } = made(
      `include: [{ path: team/compose.yml, env_file: [one.env, two.env], project_directory: shared }]\n${web("hostname: ${TAG:-none}")}`,
    );
    expect(services["cache"]).toEqual({
      image: "redis:7-caller",
      // The caller's variable wins over the file's.
      environment: { MODE: "one", WHO: "caller" },
      volumes: [{ type: "bind", source: "/srv/app/shared/c", target: "/c" }],
    });
    // They are of the included files alone.
    expect(services["web"]).toMatchObject({ hostname: "none" });
  });

  it.each([
    [
      `include:\n  - { path: team/compose.yml, env_file: bad.env }\n${web()}`,
      "compose.yml:2: /srv/app/bad.env:2: ",
    ],
    [web("extends: nobody"), 'compose.yml:4: services.web.extends: there is no service "nobody"'],
    [
      web("extends: { file: base/common.yml, service: round }"),
      "/srv/app/base/common.yml:9: services.round.extends leads back to itself",
    ],
    [
      web("extends: { file: far.yml, service: it }"),
      "/srv/app/far.yml:2: services.it.hostname must be a string",
    ],
    [
      "include: [db/compose.yml]\nservices:\n  db: { image: other }",
      "compose.yml:3: services.db conflicts with the one of /srv/app/db/compose.yml",
    ],
    [
      "include: [{ project_directory: x }]\nservices: {}",
      "compose.yml:1: include.0 path is required",
    ],
  ])("%j is refused where the fault is", (text, message) => {
    const read = project(text);
    expect(read.ok ? "accepted" : describeError(read.error)).toContain(message);
  });

  it("are docker's to refuse in versions of the format that have them not", () => {
    expect(refused(`version: "3.8"\n${web("extends: a")}`)).toContain("unsupported options");
    expect(refused(`version: "3.8"\ninclude: [a]\n${web()}`)).toContain("include");
  });
});

describe("variables", () => {
  const value = (text: string, env: Readonly<Record<string, string>> = {}) =>
    service([web(`hostname: '${text}'`)], env)["hostname"];

  it.each([
    ["$A", { A: "x" }, "x"],
    ["${A}b", { A: "x" }, "xb"],
    ["$A", {}, ""],
    ["${A:-d}", { A: "" }, "d"],
    ["${A-d}", { A: "" }, ""],
    ["${A-d}", {}, "d"],
    ["${A:-}", {}, ""],
    ["${A:+y}", { A: "x" }, "y"],
    ["${A:+y}", { A: "" }, ""],
    ["${A+y}", { A: "" }, "y"],
    ["${A:-${B:-c}}", {}, "c"],
    ["${A:?no}", { A: "x" }, "x"],
    ["a$$A", { A: "x" }, "a$A"],
  ] as const)("%s with %j is %s", (text, env, expected) => {
    expect(value(text, env)).toBe(expected);
  });

  it("are refused with file and line", () => {
    expect(refused(web("hostname: '${A:?set A}'"))).toBe(
      "f0.yml:4: error while interpolating services.web.hostname: required variable A is missing a value: set A",
    );
    expect(refused(web("hostname: '${A'"))).toBe(
      'f0.yml:4: invalid interpolation format for services.web.hostname: "${A"; you may need to escape any $ with another $',
    );
  });

  it("become numbers where numbers are asked for", () => {
    expect(service([web("deploy: {replicas: '${N}'}")], { N: "4" })["deploy"]).toEqual({
      replicas: 4,
    });
  });
});

describe("YAML", () => {
  it("has octal modes, and ports that are no base-60 numbers", () => {
    const made = service([web("ports: [22:22]", "secrets: [{source: s, mode: 0440}]")]);
    expect(made["ports"]).toEqual([
      { mode: "ingress", target: 22, published: 22, protocol: "tcp" },
    ]);
    expect(made["secrets"]).toEqual([{ source: "s", mode: 0o440 }]);
  });

  it("has words that are booleans only where one is asked for", () => {
    const made = service([web("tty: on", "environment: {ON: yes, B: y}")]);
    expect(made).toMatchObject({ tty: true, environment: { ON: "yes", B: "y" } });
  });

  it("has anchors and merge keys, the own key over the merged one", () => {
    const text = `x-base: &base {image: a, hostname: h}\nservices:\n  web:\n    <<: *base\n    image: b\n`;
    expect(service([text])).toMatchObject({ image: "b", hostname: "h" });
  });

  it("does not let aliases unfold without end", () => {
    const levels = Array.from({ length: 12 }, (_, level) =>
      level === 0
        ? "x-0: &a0 [x, x, x, x, x, x, x, x, x]"
        : `x-${level}: &a${level} [${Array(9)
            .fill(`*a${level - 1}`)
            .join(", ")}]`,
    );
    expect(refused(levels.join("\n"))).toContain("document contains excessive aliasing");
  });

  it("tells the line of a syntax error", () => {
    expect(refused("services:\n  web: {image: [\n")).toMatch(/^f0\.yml:[23]: yaml: /);
  });
});

describe("several files", () => {
  it("merge as docker's stacks do", () => {
    const made = service([
      web(
        "command: one two",
        "ports: ['80:80', '81:81']",
        "volumes: ['old:/data', '/x']",
        "environment: {A: '1', B: '1'}",
        "dns: 1.1.1.1",
        "deploy: {replicas: 2, labels: {a: b}}",
      ),
      web(
        "command: three",
        "ports: ['80:8080']",
        "volumes: ['new:/data']",
        "environment: [B=2]",
        "dns: 2.2.2.2",
        "deploy: {replicas: 3}",
      ),
    ]);
    expect(made).toEqual({
      image: "busybox",
      command: ["three"],
      ports: [
        { mode: "ingress", target: 8080, published: 80, protocol: "tcp" },
        { mode: "ingress", target: 81, published: 81, protocol: "tcp" },
      ],
      volumes: [
        { type: "volume", source: "new", target: "/data" },
        { type: "volume", target: "/x" },
      ],
      environment: { A: "1", B: "2" },
      dns: ["1.1.1.1", "2.2.2.2"],
      deploy: { replicas: 3, labels: { a: "b" } },
    });
  });

  it("must agree on their version, and errors name the file that is wrong", () => {
    expect(refused("version: '3.7'", "version: '3.8'")).toBe(
      "f1.yml:1: version mismatched between two composefiles : 3.7 and 3.8",
    );
    expect(refused(web(), web("networks: [back]"))).toBe(
      'f1.yml:4: service web: undefined network "back"',
    );
  });
});

describe("a service in the plan", () => {
  it("has its words split by the shell's rules", () => {
    expect(service([web(`command: sh -c 'a "b"' "c\\\\ d" e\\ f`)])["command"]).toEqual([
      "sh",
      "-c",
      'a "b"',
      "c\\ d",
      "e f",
    ]);
  });

  it.each([
    ["restart: sometimes", "service web: unknown restart policy: sometimes"],
    ["deploy: {mode: global, replicas: 2}", "service web: replicas can only be used"],
    ["volumes: ['nope:/data']", 'service web: undefined volume "nope"'],
    ["stop_grace_period: 3 days", "time: missing unit"],
    ["deploy: {resources: {limits: {memory: lots}}}", "invalid size: 'lots'"],
    ["ports: ['80-81:80-83']", "Invalid ranges specified"],
    ["ports: ['99999:80']", "Invalid hostPort"],
    ["healthcheck: {test: a, disable: true}", "test and disable can't be set"],
  ])("refuses %s at its line", (line, message) => {
    const said = refused(web(line));
    expect(said).toContain(message);
    expect(said).toMatch(/^f0\.yml:4: /);
  });
});

describe("what today's format has beyond version 3", () => {
  it("profiles: a service is there only with one of its own", () => {
    const text = web("profiles: [debug, ops]");
    const around = surroundings();
    const names = (profiles: readonly string[]) => {
      const read = readCompose([{ name: "f.yml", text }], around);
      if (!read.ok) throw new Error(describeError(read.error));
      const project = mergeCompose(read.value, { ...around, profiles }, new Map());
      return project.ok ? Object.keys(project.value.services) : project.error;
    };
    expect(names([])).toEqual([]);
    expect(names(["ops"])).toEqual(["web"]);
    expect(names(["*"])).toEqual(["web"]);
  });

  it("is not of a file with a version", () => {
    expect(refused(`version: "3.8"\n${web("profiles: [a]")}`)).toBe(
      "f0.yml:5: services.web Additional property profiles is not allowed",
    );
  });
});

describe("depends_on", () => {
  const planned = (text: string) => {
    const project = load([text]);
    if (!project.ok) return describeError(project.error);
    const plan = planStack(project.value, "st", new Map());
    if (!plan.ok) return describeError(plan.error);
    return [
      plan.value.services.map(({ Name }) => Name).join(),
      Object.fromEntries(
        plan.value.services.flatMap(({ Name, Labels }) =>
          Labels?.[START_LABEL] === undefined ? [] : [[Name, Labels[START_LABEL]]],
        ),
      ),
    ];
  };
  const file = (web: string, db: string) =>
    `services:\n  web: {image: a, depends_on: ${web}}\n  db: {image: b, depends_on: ${db}}\n`;

  it("is the order of services; circles and unknown names are no fault of it", () => {
    expect(planned(file("[db]", "[]"))).toEqual(["st_db,st_web", {}]);
    expect(planned(file("[db, nope]", "[web]"))).toEqual(["st_db,st_web", {}]);
  });

  it("has conditions to wait for", () => {
    expect(planned(file("{db: {condition: service_healthy}}", "[]"))).toEqual([
      "st_db,st_web",
      { st_web: "st_db=healthy" },
    ]);
    expect(planned(file("{db: {condition: service_healthy}}", "[web]"))).toEqual([
      "st_db,st_web",
      { st_web: "st_db=healthy" },
    ]);
  });

  it("adds to the label that the file itself gives", () => {
    const condition = "{db: {condition: service_completed_successfully}}";
    const own = 'deploy: {labels: {skep.start-after: "cache=healthy"}}';
    expect(planned(file(`${condition}, ${own}`, "[]"))).toEqual([
      "st_db,st_web",
      { st_web: "cache=healthy,st_db=completed" },
    ]);
  });

  it.each([
    [
      "{nope: {condition: service_started}}",
      "[]",
      'service web: depends on undefined service "nope"',
    ],
    ["{db: {condition: soon}}", "[]", 'invalid depends_on condition "soon"'],
    [
      "{db: {condition: service_healthy}}",
      "{web: {condition: service_healthy}}",
      'service db: waits for "web", which depends on it',
    ],
  ])("is refused: %s, %s", (web, db, message) => {
    expect(planned(file(web, db))).toMatch(/^f0\.yml:[23]: /);
    expect(planned(file(web, db))).toContain(message);
  });
});

it("tmpfs becomes mounts", () => {
  const project = load([web("tmpfs: [/run, '/tmp:size=64m,mode=1777']")]);
  const plan = project.ok ? planStack(project.value, "st", new Map()) : project;
  expect(plan.ok && plan.value.services[0]?.TaskTemplate?.ContainerSpec?.Mounts).toEqual([
    { Type: "tmpfs", Target: "/run", TmpfsOptions: undefined },
    { Type: "tmpfs", Target: "/tmp", TmpfsOptions: { SizeBytes: 64 << 20, Mode: 0o1777 } },
  ]);
  expect(refused(web("tmpfs: '/run:fast'"))).toBe(
    'f0.yml:4: service web: invalid tmpfs option "fast"',
  );
});

describe("a .env file", () => {
  const parsed = (text: string, env: Readonly<Record<string, string>> = {}) => {
    const found = parseDotEnv(text, ".env", (name) => env[name]);
    return found.ok ? Object.fromEntries(found.value) : describeError(found.error);
  };

  it.each([
    ["A=1\n# note\n\nexport B = two words # note\nC", { A: "1", B: "two words" }],
    [`A='$X "q" # no'\nB="a\\n\\"\\$X"`, { A: '$X "q" # no', B: 'a\n"$X' }],
    ["A=1\nB=${A}-$X", { A: "1", B: "1-x" }],
    ["A=pass$1$$", { A: "pass$1$$" }],
    ["A=a#b\nB=", { A: "a#b", B: "" }],
  ])("%j", (text, expected) => {
    expect(parsed(text, { X: "x" })).toEqual(expected);
  });

  it("is refused with its line", () => {
    expect(parsed("A=1\nB='open")).toBe(".env:2: a quote is not closed");
  });
});

it("no text makes it throw", () => {
  const piece = fc.constantFrom(
    ..."services:|\n|  |web:| image: a|- |{|}|[|]|&a |*a|<<: |$|${|x:|'|\"|#|ports: |1:2|0x|~|!!map |deploy: ".split(
      "|",
    ),
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(piece, fc.string()), { maxLength: 30 }), (pieces) => {
      refused(pieces.join(""));
      parseDotEnv(pieces.join(""), ".env", () => undefined);
    }),
    { numRuns: 500 },
  );
});
