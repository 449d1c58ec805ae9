/**
 * Compose files against what docker's CLI 28.2 makes of them: recorded inputs and requests, read from
 * outside of the repository (`SKEP_SHARED`, or the folder `shared` beside it; without them one skipped
 * test says so). Bodies are compared in a form without order and without empty values.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { mergeCompose, readCompose } from "./load.ts";
import { payloadFiles, planStack } from "./plan.ts";
import { printProject } from "./print.ts";
import type { ComposeError } from "./refusal.ts";
import type { SparseServiceSpec, StackPlan } from "./stack.ts";

const REPO = resolve(import.meta.dirname, "../../..");
const SHARED = process.env["SKEP_SHARED"] ?? resolve(REPO, "../shared");
const CASES = join(SHARED, "compose-cases");

/** Where we say something else on purpose: the message that we give, or that we accept. */
const DEVIATIONS: Readonly<Record<string, { readonly ours: string; readonly why: string }>> = {
  "loader-NonStringKeys": {
    ours: "Non-string key at top level: 123",
    why: "28.2 does not say which key; 20.10 does",
  },
  "loader-NonStringKeys-2": {
    ours: "Non-string key in services: 123",
    why: "28.2 does not say which key; 20.10 does",
  },
  "loader-NonStringKeys-3": {
    ours: "Non-string key in networks.default.ipam.config[0]: 123",
    why: "28.2 does not say which key; 20.10 does",
  },
  "loader-NonStringKeys-4": {
    ours: "Non-string key in services.dict-env.environment: 1",
    why: "28.2 does not say which key; 20.10 does",
  },
  "loader-LoadWithInterpolationCastFull": {
    ours: 'error while interpolating services.web.configs.[].mode: failed to cast to expected type: strconv.Atoi: parsing "": invalid syntax',
    why: "docker takes the first of many faults from a map in random order; we from the file's",
  },
  otel: {
    ours: "accepted",
    why: "`name` at the top is of today's format; the stack's name on the command line wins",
  },
};

interface Recorded {
  readonly rc: number;
  readonly stderr: string;
  readonly requests: readonly Request[];
}

interface Request {
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly body: unknown;
}

describe("compose files as docker's CLI reads them", () => {
  if (!existsSync(CASES)) {
    it.skip(`are not at ${CASES}; set SKEP_SHARED to their parent folder`, () => {});
    return;
  }
  const names = readdirSync(join(CASES, "inputs")).sort();
  it("has a case for every deviation", () => {
    expect(Object.keys(DEVIATIONS).filter((name) => !names.includes(name))).toEqual([]);
  });
  for (const name of names) {
    const deviation = DEVIATIONS[name];
    it(deviation === undefined ? name : `${name}: otherwise, because ${deviation.why}`, () => {
      const expected = JSON.parse(
        readFileSync(join(CASES, "expected", `${name}.28.2.json`), "utf8"),
      ) as Recorded;
      const outcome = deploy(join(CASES, "inputs", name));
      if (deviation !== undefined) {
        expect(outcome.error?.message ?? "accepted").toBe(deviation.ours);
        // One that says what docker says is none any more.
        expect(deviation.ours).not.toBe(expected.stderr.trim());
        return;
      }
      // Where docker fails after it has made half of a stack, we make nothing: no requests to compare.
      expect({ stderr: withoutAdditions(outcome.stderr), requests: outcome.requests }).toEqual({
        stderr: withoutHonoured(withoutTimes(expected.stderr)),
        requests: expected.rc === 0 ? expected.requests : [],
      });
      expect(outcome.error === undefined ? 0 : 1).toBe(expected.rc);
      if (outcome.error !== undefined) {
        expect(outcome.error.file).toBe("compose.yml");
        expect(outcome.error.line).toBeGreaterThan(0);
      }
    });
  }
});

interface Outcome {
  readonly stderr: string;
  readonly error?: ComposeError;
  readonly requests: readonly Request[];
}

function deploy(folder: string): Outcome {
  const env = environmentOf(folder);
  const around = {
    places: { workingDir: "/project", home: env.get("HOME") ?? "/home/user" },
    lookup: (name: string) => env.get(name),
  };
  const failed = (error: ComposeError, before = ""): Outcome => ({
    stderr: `${before}${error.message.replaceAll("/project", "$DIR")}`.trim(),
    error,
    requests: [],
  });
  const text = readFileSync(join(folder, "compose.yml"), "utf8");
  const read = readCompose([{ name: "compose.yml", text }], around);
  if (!read.ok) return failed(read.error);
  const envFiles = contents(folder, read.value.envFiles, "utf8");
  const project = mergeCompose(read.value, around, envFiles);
  if (!project.ok) return failed(project.error);
  const told = [
    ...project.value.warnings,
    ...project.value.notices.map((notice) => `${notice}\n`),
  ].join("\n");
  const payloads = contents(folder, payloadFiles(project.value), "base64");
  const plan = planStack(project.value, "st", payloads);
  if (!plan.ok) return failed(plan.error, `${told}\n`);
  expect(replanned(printProject(project.value, true), payloads)).toEqual(inOrder(plan.value));
  const requests = requestsOf(plan.value, externalOf(folder));
  return { stderr: told.trim(), requests: substituted(requests) };
}

/** The plan of a printed project, read in a place with other variables. */
function replanned(text: string, payloads: ReadonlyMap<string, string>): StackPlan | ComposeError {
  const elsewhere = { places: { workingDir: "/", home: "/" }, lookup: () => undefined };
  const read = readCompose([{ name: "printed.yml", text }], elsewhere);
  if (!read.ok) return read.error;
  const project = mergeCompose(read.value, elsewhere, new Map());
  if (!project.ok) return project.error;
  const plan = planStack(project.value, "st", payloads);
  return plan.ok ? inOrder(plan.value) : plan.error;
}

function inOrder(plan: StackPlan): StackPlan {
  const byName = (a: { readonly Name: string }, b: { readonly Name: string }) =>
    a.Name < b.Name ? -1 : 1;
  return {
    ...plan,
    networks: plan.networks.toSorted(byName),
    secrets: plan.secrets.toSorted(byName),
    configs: plan.configs.toSorted(byName),
    services: plan.services.toSorted(byName),
  };
}

/** Files that the case has no copy of hold "data of NAME", as they did for docker. */
function contents(
  folder: string,
  files: readonly string[],
  encoding: "utf8" | "base64",
): ReadonlyMap<string, string> {
  return new Map(
    files.flatMap((file): [string, string][] => {
      const path = join(folder, file.replace(/^\/project\//, ""));
      if (existsSync(path)) return [[file, readFileSync(path).toString(encoding)]];
      if (encoding === "utf8") return [];
      const name = file.slice(file.lastIndexOf("/") + 1);
      return [[file, Buffer.from(`data of ${name}`).toString(encoding)]];
    }),
  );
}

function environmentOf(folder: string): ReadonlyMap<string, string> {
  const path = join(folder, "env");
  const lines = existsSync(path) ? readFileSync(path, "utf8").split("\n") : [];
  return new Map([
    ["HOME", "/home/user"],
    ...lines
      .filter((line) => line.includes("="))
      .map((line): [string, string] => [
        line.slice(0, line.indexOf("=")),
        line.slice(line.indexOf("=") + 1),
      ]),
  ]);
}

function externalOf(folder: string): ReadonlySet<string> {
  const path = join(folder, "external");
  return new Set(existsSync(path) ? readFileSync(path, "utf8").trim().split(",") : []);
}

/** docker's CLI sends ids, which it has asked for; ours leaves names to the leader. */
function withIds(
  { TaskTemplate, ...spec }: SparseServiceSpec,
  id: (kind: string) => (name: string) => readonly [string, string],
) {
  const { Privileges, ...container } = TaskTemplate?.ContainerSpec ?? {};
  const credential = Privileges?.CredentialSpec;
  const named = (credential?.Config ?? "") !== "";
  return {
    ...spec,
    TaskTemplate: {
      ...TaskTemplate,
      ContainerSpec: {
        ...container,
        Labels: Object.fromEntries(
          Object.entries(container.Labels ?? {}).filter(([key]) => !key.startsWith("skep.")),
        ),
        Secrets: container.Secrets?.map((reference) => ({
          ...reference,
          SecretID: id("secret")(reference.SecretName ?? "")[1],
        })),
        Configs: container.Configs?.map((reference) => ({
          ...reference,
          ConfigID: id("config")(reference.ConfigName ?? "")[1],
        })),
        Privileges: named
          ? {
              ...Privileges,
              CredentialSpec: { ...credential, Config: id("config")(credential?.Config ?? "")[1] },
            }
          : Privileges,
      },
    },
  };
}

/** The calls that a deploy makes where exactly the external objects are there. */
function requestsOf(unordered: StackPlan, external: ReadonlySet<string>): readonly Request[] {
  const plan = inOrder(unordered);
  const id = (kind: string) => (name: string) => [name, `id-${kind}-${name}`] as const;
  const payload = (kind: "secret" | "config", spec: { readonly Name: string }): Request =>
    external.has(`${kind}s:${spec.Name}`)
      ? { path: `/${kind}s/id-${kind}-${spec.Name}/update`, query: { version: "7" }, body: spec }
      : { path: `/${kind}s/create`, query: {}, body: spec };
  const requests: readonly Request[] = [
    ...plan.networks.map((body) => ({ path: "/networks/create", query: {}, body })),
    ...plan.secrets.map((spec) => payload("secret", spec)),
    ...plan.configs.map((spec) => payload("config", spec)),
    ...plan.services.map((spec) => {
      return { path: "/services/create", query: {}, body: withIds(spec, id) };
    }),
  ];
  return requests.map(({ body, ...rest }) => ({ ...rest, body: canonical(body) }));
}

const WITHOUT_ORDER = new Set(
  "Env Mounts Secrets Configs Networks Ports Hosts Aliases Constraints CapabilityAdd CapabilityDrop Ulimits Groups CapAdd CapDrop".split(
    " ",
  ),
);

function canonical(value: unknown, key?: string): unknown {
  if (Array.isArray(value)) {
    const items = value.map((item) => canonical(item));
    const text = (item: unknown) => pythonJson(item);
    return WITHOUT_ORDER.has(key ?? "")
      ? items.sort((a, b) => (text(a) < text(b) ? -1 : 1))
      : items;
  }
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value)
    .map(([name, item]) => [name, canonical(item, name)] as const)
    .filter(([, item]) => !isEmpty(item))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries);
}

function isEmpty(value: unknown): boolean {
  return (
    value === null ||
    value === undefined ||
    (typeof value === "object" && Object.keys(value).length === 0)
  );
}

/** The recordings' order of lists is that of Python's JSON text, which has spaces. */
function pythonJson(value: unknown): string {
  return JSON.stringify(value, null, 1).replaceAll(/\n\s*/g, " ");
}

function substituted(requests: readonly Request[]): readonly Request[] {
  return JSON.parse(JSON.stringify(requests).replaceAll("/project", "$DIR")) as Request[];
}

/** Warnings that only we give: of addresses and bridges, which docker passes over in silence. */
function withoutAdditions(stderr: string): string {
  return stderr
    .replaceAll(/^service .* has no effect: the swarm gives addresses\n/gm, "")
    .replaceAll(/^network .*: a bridge is of one host, .*\n?/gm, "");
}

/** What docker's stacks ignore and ours do not; whether they do is `host-access-part.test.ts`. */
const HONOURED = [
  "cgroup_parent",
  "cgroupns_mode",
  "devices",
  "domainname",
  "ipc",
  "pid",
  "privileged",
  "security_opt",
  "shm_size",
  "userns_mode",
];

function withoutHonoured(stderr: string): string {
  return stderr.replace(
    /^(Ignoring unsupported options: )(.*)$/m,
    (_, words: string, keys: string) => {
      const left = keys.split(", ").filter((key) => !HONOURED.includes(key));
      return words + left.join(", ");
    },
  );
}

/** The log lines' own words; a blank line between paragraphs counts, those around do not. */
function withoutTimes(stderr: string): string {
  return stderr
    .replaceAll(/^time="[^"]*" level=warning msg="(.*)"$/gm, (_, message: string) =>
      message.replaceAll('\\"', '"'),
    )
    .trim();
}
