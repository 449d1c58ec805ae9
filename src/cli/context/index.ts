/**
 * `skep context …`: which engine commands are for, kept in docker's own files, so that both command
 * lines know the same contexts.
 */

import { EngineError } from "#base/error.ts";
import { type Command, type CommandContext, FORMAT_FLAG, QUIET_FLAG } from "../command.ts";
import { changeConfigFile, readConfigFile } from "../config-file.ts";
import { currentContext, DEFAULT_CONTEXT, hostVariable } from "../connect/endpoint.ts";
import type { FlagSpec } from "../pflag.ts";
import { describe, inspect, list } from "./show.ts";
import { endpointFrom, parsePairs } from "./spec.ts";
import { ContextStore, checkContextName, ENDPOINT } from "./store.ts";
import { exportContext, importContext, told } from "./transfer.ts";

async function create(context: CommandContext): Promise<number> {
  const { args, env, flags } = context;
  const [name = ""] = args;
  const store = new ContextStore(env);
  store.checkNew(name);
  const given = flags.string("description");
  if (flags.has("from") && flags.has("docker")) {
    throw new EngineError("invalid-argument", "cannot use --docker flag when --from is set");
  }
  const current = () => currentContext(context.globals, env);
  const from = flags.has("docker") ? undefined : (flags.string("from") ?? current());
  if (from !== undefined) {
    const { meta, tls } = describe(context, from);
    const Metadata = given === undefined ? meta.Metadata : { ...meta.Metadata, Description: given };
    await store.put({ ...meta, Name: name, Metadata }, tls);
  } else {
    const { endpoint, tls } = endpointOfFlags(context);
    const Metadata = given === undefined ? {} : { Description: given };
    await store.put({ Name: name, Metadata, Endpoints: { [ENDPOINT]: endpoint } }, tls);
  }
  return told(context, name, "created");
}

function endpointOfFlags(context: CommandContext) {
  return endpointFrom(parsePairs(context.flags.list("docker")), (from) => describe(context, from));
}

async function update(context: CommandContext): Promise<number> {
  const { args, env, flags } = context;
  const [name = ""] = args;
  checkContextName(name);
  const store = new ContextStore(env);
  const meta = store.get(name);
  const description = flags.string("description");
  const Metadata =
    description === undefined ? meta.Metadata : { ...meta.Metadata, Description: description };
  if (flags.has("docker")) {
    const { endpoint, tls } = endpointOfFlags(context);
    const { [ENDPOINT]: _old, ...others } = store.tls(name);
    const Endpoints = { ...meta.Endpoints, [ENDPOINT]: endpoint };
    await store.put({ ...meta, Metadata, Endpoints }, { ...others, ...tls });
  } else await store.put({ ...meta, Metadata });
  return told(context, name, "updated");
}

async function use({ args, env, stdout, stderr }: CommandContext): Promise<number> {
  const [name = ""] = args;
  if (name !== DEFAULT_CONTEXT) {
    checkContextName(name);
    new ContextStore(env).get(name);
  }
  if ((readConfigFile(env).currentContext ?? DEFAULT_CONTEXT) !== name) {
    await changeConfigFile(env, ({ currentContext: _old, ...config }) =>
      name === DEFAULT_CONTEXT ? config : { ...config, currentContext: name },
    );
  }
  stdout.write(`${name}\n`);
  stderr.write(`Current context is now ${JSON.stringify(name)}\n`);
  const variable = hostVariable(env);
  if (name !== DEFAULT_CONTEXT && variable !== undefined) {
    stderr.write(
      `Warning: ${variable} environment variable overrides the active context. To use ${JSON.stringify(name)}, either set the global --context flag, or unset ${variable} environment variable.\n`,
    );
  }
  return 0;
}

async function remove(context: CommandContext): Promise<number> {
  const { args, env, flags, globals, stdout, stderr } = context;
  const store = new ContextStore(env);
  const force = flags.bool("force");
  let failed = 0;
  const refuse = (message: string) => {
    stderr.write(`${message}\n`);
    failed += 1;
  };
  for (const name of args) {
    const shown = `context ${JSON.stringify(name)}`;
    const current = currentContext(globals, env) === name;
    if (name === DEFAULT_CONTEXT) refuse(`${shown} cannot be removed`);
    else if (!force && !store.has(name)) refuse(`${shown} does not exist`);
    else if (!force && current) refuse(`${shown} is in use, set -f flag to force remove`);
    else {
      // First, so that no command is sent to a context that has gone.
      if (readConfigFile(env).currentContext === name) {
        await changeConfigFile(env, ({ currentContext: _gone, ...config }) => config);
      }
      await store.remove(name);
      stdout.write(`${name}\n`);
    }
  }
  return failed === 0 ? 0 : 1;
}

const DOCKER_FLAG: FlagSpec = {
  name: "docker",
  kind: "list",
  valueName: "stringToString",
  usage:
    "The engine: host=unix://…|tcp://…|ssh://…, ca=, cert=, key= (files), skip-tls-verify=, from= (a context)",
};
const DESCRIPTION_FLAG: FlagSpec = {
  name: "description",
  kind: "string",
  usage: "Description of the context",
};

/** Needs a name and nothing else. */
const ONE_CONTEXT = { usage: "[OPTIONS] CONTEXT", minArgs: 1, maxArgs: 1 } as const;

export const COMMANDS: readonly Command[] = [
  {
    path: ["context", "create"],
    summary: "Create a context",
    flags: [
      DESCRIPTION_FLAG,
      DOCKER_FLAG,
      { name: "from", kind: "string", usage: "Copy this context" },
    ],
    ...ONE_CONTEXT,
    run: create,
  },
  {
    path: ["context", "update"],
    summary: "Change a context",
    flags: [DESCRIPTION_FLAG, DOCKER_FLAG],
    ...ONE_CONTEXT,
    run: update,
  },
  {
    path: ["context", "ls"],
    aliases: ["list"],
    usage: "[OPTIONS]",
    summary: "List contexts",
    flags: [FORMAT_FLAG, { ...QUIET_FLAG, usage: "Show only names" }],
    minArgs: 0,
    maxArgs: 0,
    run: list,
  },
  {
    path: ["context", "inspect"],
    usage: "[OPTIONS] [CONTEXT...]",
    summary: "Show contexts in full",
    flags: [{ ...FORMAT_FLAG, short: "f" }],
    minArgs: 0,
    maxArgs: undefined,
    run: inspect,
  },
  {
    path: ["context", "show"],
    usage: "",
    summary: "Print the name of the current context",
    flags: [],
    minArgs: 0,
    maxArgs: 0,
    run: async ({ env, globals, stdout }) => {
      stdout.write(`${currentContext(globals, env)}\n`);
      return 0;
    },
  },
  {
    path: ["context", "use"],
    summary: "Set the current context",
    flags: [],
    ...ONE_CONTEXT,
    usage: "CONTEXT",
    run: use,
  },
  {
    path: ["context", "rm"],
    aliases: ["remove"],
    usage: "[OPTIONS] CONTEXT [CONTEXT...]",
    summary: "Remove contexts",
    flags: [{ name: "force", short: "f", kind: "bool", usage: "Also the one in use" }],
    minArgs: 1,
    maxArgs: undefined,
    run: remove,
  },
  {
    path: ["context", "export"],
    usage: "CONTEXT [FILE|-]",
    summary: "Write a context to a tar archive",
    flags: [],
    minArgs: 1,
    maxArgs: 2,
    run: exportContext,
  },
  {
    path: ["context", "import"],
    usage: "CONTEXT FILE|-",
    summary: "Read a context from a tar or zip archive",
    flags: [],
    minArgs: 2,
    maxArgs: 2,
    run: importContext,
  },
];
