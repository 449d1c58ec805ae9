/**
 * Every flag of `service create` and `service update`, by docker's command lines (20.10 and a newer one)
 * and our own: what `service inspect` says then, and what the real container has. A flag that a
 * command line lists and no row here uses is a failure.
 */

import { execFile } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { PLAIN_ENV } from "../../bench/lib/host.ts";
import { SKEP, SkepEngine } from "../../bench/lib/skep.ts";
import { until } from "../lab/lab.ts";
import { send } from "./call.ts";
import { commandsOf, flagsUsed } from "./commands.ts";
import { loadImage } from "./engines.ts";
import {
  CREATE_OTHERS,
  createAll,
  type FlagGroup,
  type FlagRow,
  UPDATE_ADDS,
  UPDATE_OTHERS,
  UPDATE_REMOVES,
} from "./service-flags.ts";

const IMAGE = "app:1";
const PROGRAMS: readonly (readonly string[])[] = [
  ...["/usr/bin/docker", "/usr/local/bin/docker"].filter(existsSync).map((path) => [path]),
  [process.execPath, SKEP],
];
/** The image has few names for its busybox. */
const PRELUDE =
  'for name in grep cut tr nslookup; do eval "$name() { busybox $name \\"\\$@\\"; }"; done\n';
const ROLLBACK: readonly FlagRow[] = [{ words: ["--rollback"], spec: {} }];

let engine: SkepEngine;
let all: FlagGroup;

beforeAll(async () => {
  engine = new SkepEngine();
  await engine.start();
  await loadImage(engine);
  const docker = (...words: string[]) => succeed(PROGRAMS[0] ?? [], words);
  await docker("swarm", "init", "--advertise-addr", "127.0.0.1");
  const file = (name: string, content: string) => {
    const path = join(engine.host.folder, name);
    writeFileSync(path, content);
    return path;
  };
  for (const [name, text] of [
    ["flags-config", "config data"],
    ["flags-config-2", "second config"],
  ] as const) {
    await docker("config", "create", name, file(name, text));
  }
  for (const [name, text] of [
    ["flags-secret", "secret data"],
    ["flags-secret-2", "second secret"],
  ] as const) {
    await docker("secret", "create", name, file(name, text));
  }
  for (const name of ["flags-net", "flags-net-2"]) {
    await docker("network", "create", "-d", "overlay", name);
  }
  all = createAll(file("flags.env", "FROM_FILE=yes\n"), engine.host.folder);
});

afterAll(() => engine?.host.destroy());

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run([program = "", ...first]: readonly string[], words: readonly string[]) {
  const env = { ...PLAIN_ENV, DOCKER_HOST: `unix://${engine.socket}`, HOME: engine.host.folder };
  return new Promise<Outcome>((resolve) => {
    execFile(program, [...first, ...words], { env }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr });
    });
  });
}

async function succeed(program: readonly string[], words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(program, words);
  if (code !== 0) throw new Error(`${words.join(" ")}: ${code} ${stderr}${stdout}`);
  return stdout;
}

type Json = Readonly<Record<string, unknown>>;

async function inspect<T>(path: string): Promise<T> {
  const { body } = await send(engine.socket, { method: "GET", path });
  return JSON.parse(body.toString()) as T;
}

/** Steps are parted by dots, or where a name has one by "|"; all that `*` stands for. */
function at(value: unknown, place: string): readonly unknown[] {
  return place.split(place.includes("|") ? "|" : ".").reduce<readonly unknown[]>(
    (found, key) =>
      found.flatMap((inner) => {
        if (key === "*") return Array.isArray(inner) ? (inner as unknown[]) : [];
        return [(inner as Json | null | undefined)?.[key]];
      }),
    [value],
  );
}

function differences(
  rows: readonly FlagRow[],
  found: unknown,
  which: "spec" | "made",
): readonly string[] {
  return rows.flatMap(({ words, [which]: places = {} }) =>
    Object.entries(places).flatMap(([place, wanted]) => {
      const there = at(found, place);
      const is = there.some((one) => text(one) === text(wanted));
      return is ? [] : [`${words.join(" ")}: ${place} is ${JSON.stringify(there)}`];
    }),
  );
}

const text = (value: unknown) => JSON.stringify(sorted(value));

/** Docker's command lines sort some lists, and leave others as a hash table had them. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.map(sorted).toSorted((a, b) => (text(a) < text(b) ? -1 : 1));
  }
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, sorted(inner)]),
  );
}

/** The rows whose flags a command line has. */
function known(rows: readonly FlagRow[], flags: readonly string[]): readonly FlagRow[] {
  return rows.filter(({ words }) => flagsUsed(words).every((flag) => flags.includes(flag)));
}

async function specOf(name: string): Promise<unknown> {
  return (await inspect<{ readonly Spec: unknown }>(`/services/${name}`)).Spec;
}

interface TaskJson {
  readonly ID: string;
  readonly DesiredState: string;
  readonly Status: {
    readonly State: string;
    readonly Err?: string;
    readonly ContainerStatus?: { readonly ContainerID: string };
  };
}

/** The container of the only task, once it runs and is none of those. */
function containerOf(name: string, before: readonly string[]): Promise<string> {
  return until(`a new task of ${name} runs`, async () => {
    const filters = encodeURIComponent(JSON.stringify({ service: [name] }));
    const tasks = await inspect<readonly TaskJson[]>(`/tasks?filters=${filters}`);
    const found = tasks.find(
      ({ DesiredState, Status }) => DesiredState === "running" && Status.State === "running",
    )?.Status.ContainerStatus?.ContainerID;
    const failed = tasks.find(({ Status }) => (Status.Err ?? "") !== "");
    if (found === undefined && failed !== undefined) throw new Error(failed.Status.Err);
    return found !== undefined && !before.includes(found) && found;
  });
}

/** What the container has of the rows. */
async function unseen(rows: readonly FlagRow[], id: string): Promise<readonly string[]> {
  const asked = rows.flatMap(({ words, seen }) => (seen === undefined ? [] : [{ words, seen }]));
  const script = asked.map(({ seen }, index) => `printf '\\n@@${index}\\n'\n${seen[0]}`).join("\n");
  const { stdout } = await run(PROGRAMS[0] ?? [], ["exec", id, "sh", "-c", PRELUDE + script]);
  const parts = stdout.split(/\n@@\d+\n/).slice(1);
  return asked.flatMap(({ words, seen: [command, answer] }, index) => {
    const said = (parts[index] ?? "").trim();
    return answer.test(said) ? [] : [`${words.join(" ")}: ${command} says ${said}`];
  });
}

async function inContainer(rows: readonly FlagRow[], id: string): Promise<readonly string[]> {
  const container = await inspect<unknown>(`/containers/${id}/json`);
  return [...differences(rows, container, "made"), ...(await unseen(rows, id))];
}

describe.each(PROGRAMS.map((program) => [program.at(-1) ?? "", program] as const))(
  "%s",
  (_name, program) => {
    let create: readonly string[] = [];
    let update: readonly string[] = [];

    beforeAll(async () => {
      const commands = await commandsOf(program);
      create = [...(commands.get("service create")?.names ?? [])];
      update = [...(commands.get("service update")?.names ?? [])];
      expect(create.length).toBeGreaterThan(60);
      expect(update.length).toBeGreaterThan(80);
    });

    const words = (rows: readonly FlagRow[]) => rows.flatMap((row) => row.words);

    async function created({ name, rows, args = [] }: FlagGroup): Promise<readonly string[]> {
      const given = known(rows, create);
      const named = words(given).includes("--name") ? [] : ["--name", name];
      const flags = ["--detach", "--no-resolve-image", ...named, ...words(given)];
      await succeed(program, ["service", "create", ...flags, IMAGE, ...args]);
      return differences(given, await specOf(name), "spec");
    }

    async function updated(name: string, rows: readonly FlagRow[]): Promise<readonly string[]> {
      const given = known(rows, update);
      await succeed(program, ["service", "update", "--detach", ...words(given), name]);
      return differences(given, await specOf(name), "spec");
    }

    afterEach(async () => {
      const services = await inspect<readonly { readonly ID: string }[]>("/services");
      if (services.length > 0) await removed(...services.map(({ ID }) => ID));
    });

    test("every flag is tried", () => {
      const tried = (groups: readonly (readonly FlagRow[])[]) =>
        new Set(groups.flat().flatMap((row) => flagsUsed(row.words)));
      const creates = tried([all.rows, ...CREATE_OTHERS.map(({ rows }) => rows)]);
      const updates = tried([
        UPDATE_ADDS,
        UPDATE_REMOVES,
        ROLLBACK,
        ...UPDATE_OTHERS.map(({ rows }) => rows),
      ]);
      expect(create.filter((flag) => !creates.has(flag))).toEqual([]);
      expect(update.filter((flag) => !updates.has(flag))).toEqual([]);
    });

    test("together: created, changed, lessened, rolled back, removed", async () => {
      // To be waited for: of no tasks, all run.
      const none = ["--detach", "--no-resolve-image", "--name=flags-first", "--replicas=0"];
      await succeed(program, ["service", "create", ...none, IMAGE]);
      expect(await created(all)).toEqual([]);
      const first = await containerOf("all", []);
      expect(await inContainer(known(all.rows, create), first)).toEqual([]);

      expect(await updated("all", UPDATE_ADDS)).toEqual([]);
      const second = await containerOf("all", [first]);
      expect(await inContainer(known(UPDATE_ADDS, update), second)).toEqual([]);
      const before = await specOf("all");

      expect(await updated("all", UPDATE_REMOVES)).toEqual([]);
      const third = await containerOf("all", [first, second]);
      expect(await inContainer(known(UPDATE_REMOVES, update), third)).toEqual([]);
      const after = await specOf("all");

      expect(await updated("all", ROLLBACK)).toEqual([]);
      expect(await specOf("all")).toEqual(before);
      await containerOf("all", [first, second, third]);
      await succeed(program, ["service", "rollback", "--detach", "--quiet", "all"]);
      expect(await specOf("all")).toEqual(after);
      await removed("all", "flags-first");
    });

    test("alone: what does not go together", async () => {
      for (const group of CREATE_OTHERS) expect(await created(group)).toEqual([]);
      for (const { name, rows } of UPDATE_OTHERS) expect(await updated(name, rows)).toEqual([]);
      await removed(...CREATE_OTHERS.map(({ name }) => name));
    });

    async function removed(...names: readonly string[]): Promise<void> {
      await succeed(program, ["service", "rm", ...names]);
      await until("they are gone", async () => {
        const services = await inspect<readonly unknown[]>("/services");
        const containers = await inspect<readonly unknown[]>("/containers/json?all=1");
        return services.length + containers.length === 0;
      });
    }
  },
);
