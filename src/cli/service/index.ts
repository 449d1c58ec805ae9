/** `skep service …`: making, watching, scaling, updating and removing services. */

import { Writable } from "node:stream";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import {
  type Command,
  type CommandContext,
  FILTER_FLAG,
  FORMAT_FLAG,
  forEachArg,
  NO_RESOLVE_FLAG,
  NO_TRUNC_FLAG,
  QUIET_FLAG,
} from "../command.ts";
import { inspectAll } from "../inspect.ts";
import type { FlagSpec } from "../pflag.ts";
import { authHeader, pinned, registryAuth } from "../stack/registry.ts";
import type { ServiceObject, ServiceSpecJson } from "../swarm/types.ts";
import { explain } from "./explain.ts";
import { findServices, printServices } from "./list.ts";
import { withListChanges, withLists } from "./list-flags.ts";
import { LOGS } from "./logs.ts";
import { waitConverged } from "./progress.ts";
import { listTasks } from "./ps.ts";
import { createSpec, updateSpec } from "./spec.ts";
import { CREATE_FLAGS, UPDATE_FLAGS } from "./spec-flags.ts";

async function create(context: CommandContext): Promise<number> {
  const { args, client, flags, stdout, stderr } = context;
  const [image = "", ...command] = args;
  const auth = await registryAuth(context, image);
  const plain = await withLists(context, createSpec(flags, image, command));
  // What a registry did not tell is told when the service is there.
  const told: string[] = [];
  const quiet = { ...context, stderr: collector(told) };
  const spec = flags.bool("no-resolve-image") ? plain : await pinned(quiet, plain, auth);
  const { ID, Warnings } = await client.post<{ ID: string; Warnings?: readonly string[] | null }>(
    "/services/create",
    spec,
    { headers: sentAuth(context, auth) },
  );
  stderr.write(told.join(""));
  for (const warning of Warnings ?? []) stderr.write(`${warning}\n`);
  stdout.write(`${ID}\n`);
  if (!flags.bool("detach")) await waitConverged(quietly(context), ID);
  return 0;
}

function collector(into: string[]): Writable {
  return new Writable({
    write: (chunk, _encoding, done) => {
      into.push(String(chunk));
      done();
    },
  });
}

/** `--quiet` waits as well, and says nothing. */
function quietly(context: CommandContext): CommandContext {
  if (!context.flags.bool("quiet")) return context;
  const stdout = new Writable({ write: (_chunk, _encoding, done) => done() });
  return { ...context, stdout };
}

/** Agents get the user's credentials only when the user says so. */
function sentAuth({ flags }: CommandContext, auth: string | undefined) {
  return flags.bool("with-registry-auth") ? authHeader(auth) : {};
}

/** Reads, changes and writes a service; "update out of sequence" is read anew, a few times. */
async function change(
  { client }: CommandContext,
  name: string,
  edit: (spec: ServiceSpecJson) => ServiceSpecJson | Promise<ServiceSpecJson>,
  query: Readonly<Record<string, string>> = {},
  headers: Readonly<Record<string, string>> = {},
): Promise<string> {
  for (let attempt = 1; ; attempt += 1) {
    const service = await client.get<ServiceObject>(`/services/${name}`);
    try {
      await client.post(`/services/${service.ID}/update`, await edit(service.Spec), {
        query: { ...query, version: service.Version.Index },
        headers,
      });
      return service.ID;
    } catch (error) {
      const raced =
        error instanceof EngineError && error.message.includes("update out of sequence");
      if (!raced || attempt === 5) throw error;
    }
  }
}

async function scale(context: CommandContext): Promise<number> {
  const { args, flags, stdout, stderr } = context;
  const targets = args.map((arg) => {
    const match = /^(.+?)=(.*)$/.exec(arg);
    const count = match?.[2] ?? "";
    if (match !== null && !/^\d+$/.test(count)) {
      throw new EngineError(
        "invalid-argument",
        `${match[1] ?? ""}: invalid replicas value ${count}: strconv.ParseUint: parsing ${JSON.stringify(count)}: invalid syntax`,
      );
    }
    if (match === null) {
      throw new EngineError(
        "invalid-argument",
        `invalid scale specifier '${arg}'.\nSee 'skep service scale --help'.`,
      );
    }
    return { name: match[1] ?? "", replicas: Number(count) };
  });
  const ids: string[] = [];
  const problems: string[] = [];
  for (const { name, replicas } of targets) {
    try {
      ids.push(await change(context, name, (spec) => scaled(spec, replicas)));
      stdout.write(`${name} scaled to ${replicas}\n`);
    } catch (error) {
      problems.push(`${name}: ${messageOf(error)}`);
    }
  }
  if (!flags.bool("detach")) for (const id of ids) await waitConverged(context, id);
  if (problems.length > 0) stderr.write(`${problems.join("\n")}\n`);
  return problems.length === 0 ? 0 : 1;
}

function scaled(spec: ServiceSpecJson, replicas: number): ServiceSpecJson {
  if (spec.Mode.ReplicatedJob !== undefined) {
    const job = { ...spec.Mode.ReplicatedJob, TotalCompletions: replicas };
    return { ...spec, Mode: { ReplicatedJob: job } };
  }
  if (spec.Mode.Replicated === undefined) {
    throw new EngineError(
      "invalid-argument",
      "scale can only be used with replicated or replicated-job mode",
    );
  }
  return { ...spec, Mode: { Replicated: { Replicas: replicas } } };
}

async function update(context: CommandContext, rollback: boolean): Promise<number> {
  const { args, flags, stdout } = context;
  const name = args[0] ?? "";
  const image = flags.string("image");
  const auth = image === undefined ? undefined : await registryAuth(context, image);
  const id = rollback
    ? await change(context, name, (spec) => spec, { rollback: "previous" })
    : await change(
        context,
        name,
        async (spec) => {
          const next = await withListChanges(context, updateSpec(spec, flags));
          const pins = image !== undefined && !flags.bool("no-resolve-image");
          return pins ? pinned(context, next, auth) : next;
        },
        {},
        sentAuth(context, auth),
      );
  stdout.write(`${name}\n`);
  if (!flags.bool("detach")) await waitConverged(quietly(context), id);
  return 0;
}

const WAIT_FLAGS: readonly FlagSpec[] = [
  { name: "detach", short: "d", kind: "bool", usage: "Exit immediately" },
  { name: "quiet", short: "q", kind: "bool", usage: "Suppress progress output" },
];

async function decide(context: CommandContext, what: "promote" | "abort"): Promise<number> {
  const { args, client, flags, stdout } = context;
  const name = args[0] ?? "";
  await client.post(`/services/${name}/${what}`, {});
  stdout.write(`${name}\n`);
  if (!flags.bool("detach")) await waitConverged(quietly(context), name);
  return 0;
}

export const COMMANDS: readonly Command[] = [
  {
    path: ["service", "create"],
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    summary: "Create a new service",
    flags: CREATE_FLAGS,
    minArgs: 1,
    maxArgs: undefined,
    flagsFirst: true,
    run: create,
  },
  {
    path: ["service", "ls"],
    aliases: ["list"],
    usage: "[OPTIONS]",
    summary: "List services",
    flags: [FILTER_FLAG, FORMAT_FLAG, QUIET_FLAG, NO_TRUNC_FLAG],
    minArgs: 0,
    maxArgs: 0,
    run: async (context) => {
      const services = await findServices(context, []);
      return printServices(context, services);
    },
  },
  {
    path: ["service", "ps"],
    usage: "[OPTIONS] SERVICE [SERVICE...]",
    summary: "List the tasks of one or more services",
    flags: [FILTER_FLAG, FORMAT_FLAG, QUIET_FLAG, NO_TRUNC_FLAG, NO_RESOLVE_FLAG],
    minArgs: 1,
    maxArgs: undefined,
    run: async (context) => {
      const found = await Promise.all(
        context.args.map((name) =>
          context.client.get<ServiceObject>(`/services/${name}`).catch((error: unknown) => {
            if (isErrorCode(error, "not-found")) return undefined;
            throw error;
          }),
        ),
      );
      const missing = context.args.filter((_name, index) => found[index] === undefined);
      const scope = found.flatMap((one) => (one === undefined ? [] : [`service=${one.ID}`]));
      if (scope.length > 0) await listTasks(context, scope);
      for (const name of missing) context.stderr.write(`no such service: ${name}\n`);
      return missing.length === 0 ? 0 : 1;
    },
  },
  {
    path: ["service", "inspect"],
    usage: "[OPTIONS] SERVICE [SERVICE...]",
    summary: "Show a service in full",
    flags: [
      { ...FORMAT_FLAG, short: "f" },
      { name: "pretty", kind: "bool", usage: "Show it for people" },
    ],
    minArgs: 1,
    maxArgs: undefined,
    run: async (context) => {
      if (!context.flags.bool("pretty")) {
        return inspectAll(context, "service", ["/services/{}"], { insertDefaults: true });
      }
      const { inspectPretty } = await import("./pretty.ts");
      return inspectPretty(context);
    },
  },
  {
    path: ["service", "scale"],
    usage: "SERVICE=REPLICAS [SERVICE=REPLICAS...]",
    summary: "Scale one or multiple replicated services",
    flags: [{ name: "detach", short: "d", kind: "bool", usage: "Exit immediately" }],
    minArgs: 1,
    maxArgs: undefined,
    run: scale,
  },
  {
    path: ["service", "update"],
    usage: "[OPTIONS] SERVICE",
    summary: "Update a service",
    flags: UPDATE_FLAGS,
    minArgs: 1,
    maxArgs: 1,
    run: (context) => update(context, context.flags.bool("rollback")),
  },
  {
    path: ["service", "rollback"],
    usage: "[OPTIONS] SERVICE",
    summary: "Revert changes to a service's configuration",
    flags: WAIT_FLAGS,
    minArgs: 1,
    maxArgs: 1,
    run: (context) => update(context, true),
  },
  {
    path: ["service", "promote"],
    usage: "[OPTIONS] SERVICE",
    summary: "Let an update that is on trial go on",
    flags: WAIT_FLAGS,
    minArgs: 1,
    maxArgs: 1,
    run: (context) => decide(context, "promote"),
  },
  {
    path: ["service", "abort"],
    usage: "[OPTIONS] SERVICE",
    summary: "Give an update up and go back to the version before it",
    flags: WAIT_FLAGS,
    minArgs: 1,
    maxArgs: 1,
    run: (context) => decide(context, "abort"),
  },
  {
    path: ["service", "explain"],
    usage: "[OPTIONS] SERVICE",
    summary: "Say what a service and its tasks wait for",
    flags: [FORMAT_FLAG],
    minArgs: 1,
    maxArgs: 1,
    run: explain,
  },
  {
    path: ["service", "rm"],
    aliases: ["remove"],
    usage: "SERVICE [SERVICE...]",
    summary: "Remove one or more services",
    flags: [],
    minArgs: 1,
    maxArgs: undefined,
    run: (context) =>
      forEachArg(context, async (name) => {
        await context.client.delete(`/services/${name}`);
        return name;
      }),
  },
  LOGS,
];
