import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Writable } from "node:stream";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Harness, swarmHarness } from "#api/testing/swarm-harness.ts";
import { messageOf } from "#base/error.ts";
import type { CommandContext } from "../command.ts";
import { createClient } from "../http.ts";
import { FlagValues, parseFlags } from "../pflag.ts";
import { COMMANDS } from "./index.ts";

let api: Harness;
let folder: string;

beforeEach(async () => {
  api = await swarmHarness();
  folder = await mkdtemp(join(tmpdir(), "skep-stack-"));
});
afterEach(async () => {
  await api.close();
  await rm(folder, { recursive: true });
});

class Text extends Writable {
  text = "";
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** `skep stack …` against the harness. */
async function stack(verb: string, ...argv: string[]): Promise<Ran> {
  const command = COMMANDS.find(({ path }) => path[1] === verb);
  if (command === undefined) throw new Error(`no command ${verb}`);
  const parsed = parseFlags(command.flags, argv, { interspersed: true });
  if (!parsed.ok) throw new Error(parsed.error);
  const [stdout, stderr] = [new Text(), new Text()];
  const env = { HOME: folder };
  const context: CommandContext = {
    ...parsed.value,
    globals: new FlagValues(),
    client: createClient(() => ({ host: `unix://${api.socketPath}` }), env),
    env,
    stdin: new PassThrough(),
    stdout,
    stderr,
  };
  let code: number;
  try {
    code = await command.run(context);
  } catch (error) {
    code = 1;
    stderr.write(messageOf(error));
  }
  return { code, out: stdout.text, err: stderr.text };
}

async function deploy(text: string, ...argv: string[]): Promise<Ran> {
  const file = join(folder, "compose.yml");
  await writeFile(file, text);
  return stack("deploy", "-d", "--resolve-image=never", "-c", file, ...argv, "st");
}

function services(): readonly string[] {
  return [...api.context.state.view().all("service")]
    .map(({ spec }) => spec?.annotations?.name ?? "")
    .sort();
}

const two = `
services:
  web:
    image: nginx:1.27
    configs: [conf]
  db:
    image: postgres:16
    secrets: [key]
configs: { conf: { file: ./conf } }
secrets: { key: { file: ./key } }
`;

beforeEach(async () => {
  await writeFile(join(folder, "conf"), "a=1");
  await writeFile(join(folder, "key"), "hunter2");
});

test("one entry of the log for a whole stack, its history included", async () => {
  const before = api.context.state.view().index;
  const { code, out, err } = await deploy(two);
  expect([code, err]).toEqual([0, ""]);
  expect(out.split("\n")).toEqual([
    "Creating network st_default",
    "Creating secret st_key",
    "Creating config st_conf",
    "Creating service st_web",
    "Creating service st_db",
    "",
  ]);
  expect(api.context.state.view().index).toBe(before + 1);
  expect((await stack("history", "st")).out).toMatch(
    /^REVISION .*\n1 .* 2 +nginx:1.27, postgres:16/,
  );
});

test("the third service is refused: nothing is made", async () => {
  const before = api.context.state.view().index;
  const { code, err } = await deploy(
    two.replace(
      "configs: {",
      "  bad: { image: x, deploy: { placement: { constraints: ['node ~ x'] } } }\nconfigs: {",
    ),
  );
  expect(code).toBe(1);
  expect(err).toContain("failed to create service st_bad: ");
  expect(api.context.state.view().index).toBe(before);
});

describe("revisions", () => {
  const scaled = two.replace("image: nginx:1.27", "image: nginx:1.28");
  const told = /revision ([0-9a-f]{16})/;

  test("a dry run tells one, and a deploy of it is refused once the stack has changed", async () => {
    await deploy(two);
    const planned = await deploy(scaled, "--dry-run");
    expect(planned.out).toContain("nginx:1.27 -> nginx:1.28");
    const revision = told.exec(planned.out)?.[1] ?? "";
    await deploy(two.replace("postgres:16", "postgres:17"));
    const late = await deploy(scaled, "--revision", revision);
    expect([late.code, late.err]).toEqual([1, expect.stringContaining(`not ${revision}: it was`)]);
    const again = told.exec((await deploy(scaled, "--dry-run")).out)?.[1] ?? "";
    expect((await deploy(scaled, "--revision", again)).code).toBe(0);
  });

  test("a dry run says what the leader would refuse", async () => {
    await deploy(two);
    await writeFile(join(folder, "conf"), "a=2");
    const { code, out } = await deploy(two, "--dry-run");
    expect(code).toBe(1);
    expect(out).toContain("failed to update config st_conf: only updates to Labels");
  });
});

test("--prune and rollback are one entry each", async () => {
  await deploy(two);
  const one = two.replace(/  db:[\s\S]*?(?=configs: \{)/, "");
  let before = api.context.state.view().index;
  expect((await deploy(one, "--prune")).out).toContain("Removing service st_db");
  expect([services(), api.context.state.view().index]).toEqual([["st_web"], before + 1]);
  before = api.context.state.view().index;
  const back = await stack("rollback", "-d", "st");
  expect([back.code, back.err]).toEqual([0, ""]);
  expect(services()).toEqual(["st_db", "st_web"]);
  expect(api.context.state.view().index).toBe(before + 1);
  expect((await stack("history", "-q", "st")).out).toBe("3\n2\n1\n");
});

test("what waits for others is refused before anything is made", async () => {
  const before = api.context.state.view().index;
  const { err } = await deploy(`
services:
  db: { image: postgres:16 }
  app:
    image: app:1
    depends_on: { db: { condition: service_healthy } }
    deploy: { placement: { constraints: ["node ~ x"] } }
`);
  expect(err).toContain("failed to create service st_app: ");
  expect(api.context.state.view().index).toBe(before);
});

test("what waits for others is made in the same entry, and held back there", async () => {
  const before = api.context.state.view().index;
  const { code, err } = await deploy(`
services:
  app:
    image: app:1
    depends_on: { db: { condition: service_healthy } }
  db: { image: postgres:16 }
`);
  expect([code, err]).toEqual([0, ""]);
  const view = api.context.state.view();
  expect(view.index).toBe(before + 1);
  const db = view.byName("service", "st_db");
  expect(view.byName("service", "st_app")?.startAfter).toMatchObject([
    { service: "st_db", serviceId: db?.id, specVersion: db?.specVersion?.index },
  ]);
});

describe("the end of a stack", () => {
  test("is one entry of the log, and nothing is left", async () => {
    await deploy(two);
    await deploy(two.replace("nginx:1.27", "nginx:1.28"));
    const before = api.context.state.view().index;
    const { code, out, err } = await stack("rm", "st");
    expect([code, err]).toEqual([0, ""]);
    expect(out.split("\n")).toEqual([
      "Removing service st_db",
      "Removing service st_web",
      "Removing secret st_key",
      "Removing config st_conf",
      "Removing network st_default",
      "",
    ]);
    const view = api.context.state.view();
    expect(view.index).toBe(before + 1);
    for (const kind of ["service", "secret", "config"] as const) expect(view.count(kind)).toBe(0);
    expect((await stack("rm", "st")).err).toBe("Nothing found in stack: st\n");
  });

  test("is refused as a whole for what others use", async () => {
    await deploy(two);
    const Networks = [{ Target: "st_default" }];
    const TaskTemplate = { ContainerSpec: { Image: "x" }, Networks };
    const other = await api.call("POST", "/services/create", { Name: "other", TaskTemplate });
    expect(other.status).toBe(201);
    const before = api.context.state.view().index;
    const { code, err } = await stack("rm", "st");
    expect(code).toBe(1);
    expect(err).toMatch(
      /failed to remove network st_default: network .* is in use by service .*\. Nothing of stack st is removed/,
    );
    expect(api.context.state.view().index).toBe(before);
  });
});
