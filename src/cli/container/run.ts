/** `create`, `run`, `start` and `attach`: making containers and staying with their streams. */

import { existsSync, writeFileSync } from "node:fs";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import type { ContainerInspect } from "#wire/docker/containers.ts";
import type { Command, CommandContext } from "../command.ts";
import { checkReference, pullImage } from "../image/pull.ts";
import type { FlagSpec, FlagValues } from "../pflag.ts";
import { proxyVariables, unlessGiven } from "../settings.ts";
import {
  DETACH_KEYS_FLAG,
  DETACHED,
  detachKeysOf,
  followSize,
  requireTerminal,
  runStreams,
} from "./attach-streams.ts";
import { CREATE_FLAGS, compact, containerBody } from "./run-flags.ts";
import { proxySignals } from "./signals.ts";

const SIG_PROXY_FLAG: FlagSpec = {
  name: "sig-proxy",
  kind: "bool",
  usage: "Send this program's signals to the container (without a TTY)",
  defaultText: "true",
};

interface Created {
  readonly Id: string;
  readonly Warnings?: readonly string[] | null;
}

async function createContainer(context: CommandContext): Promise<string> {
  const { flags, client, stderr } = context;
  const [image = "", ...command] = context.args;
  checkReference(image);
  const described = containerBody(flags, image, command, context.env);
  const own = described.Env ?? [];
  const proxies = await proxyVariables(context);
  const plain = { ...described, Env: [...own, ...unlessGiven(proxies, own)] };
  const access = flags.bool("use-api-socket")
    ? await (await import("./api-socket.ts")).withApiSocket(context, plain)
    : undefined;
  const body = access?.body ?? plain;
  const { stdin, stdout, stderr: errors } = attachedStreams(flags);
  const attached = flags.bool("detach")
    ? {}
    : { AttachStdout: stdout, AttachStderr: errors, AttachStdin: stdin, StdinOnce: stdin };
  const query = compact({ name: flags.string("name"), platform: flags.string("platform") });
  const post = () =>
    client.post<Created>("/containers/create", { ...body, ...attached }, { query });
  const cidFile = flags.string("cidfile");
  if (cidFile !== undefined && existsSync(cidFile)) {
    throw new EngineError(
      "already-exists",
      `container ID file found, make sure the other container isn't running or delete ${cidFile}`,
    );
  }
  const pull = flags.string("pull") ?? "missing";
  // What the container prints is all that goes to standard output.
  const fetchImage = () =>
    pullImage({ ...context, stdout: stderr }, image, {
      platform: flags.string("platform"),
      quiet: flags.bool("quiet"),
    });
  if (pull === "always") await fetchImage();
  let created: Created;
  try {
    created = await post();
  } catch (error) {
    if (pull === "never" || !isErrorCode(error, "not-found")) throw error;
    if (!/no such image/i.test((error as EngineError).message)) throw error;
    if (!flags.bool("quiet")) stderr.write(`Unable to find image '${image}' locally\n`);
    await fetchImage();
    created = await post();
  }
  await access?.bring(created.Id);
  for (const warning of created.Warnings ?? []) stderr.write(`WARNING: ${warning}\n`);
  if (cidFile !== undefined) writeFileSync(cidFile, created.Id, { mode: 0o666 });
  return created.Id;
}

/** Without `--attach`, all of them: input only when it is kept open. */
function attachedStreams(flags: FlagValues) {
  const chosen = flags.list("attach").map((name) => name.toLowerCase());
  const unknown = chosen.find((name) => !["stdin", "stdout", "stderr"].includes(name));
  if (unknown !== undefined) {
    throw new EngineError("invalid-argument", "valid streams are STDIN, STDOUT and STDERR");
  }
  const wants = (name: string) => chosen.length === 0 || chosen.includes(name);
  return {
    stdin: flags.bool("interactive") && wants("stdin"),
    stdout: wants("stdout"),
    stderr: wants("stderr"),
  };
}

async function run(context: CommandContext): Promise<number> {
  const { flags, client, stdout } = context;
  if (!flags.bool("detach")) {
    const { stdin } = attachedStreams(flags);
    requireTerminal(context, { tty: flags.bool("tty"), stdin });
  }
  const id = await createContainer(context);
  if (flags.bool("detach")) {
    try {
      await client.post(`/containers/${id}/start`);
    } catch (error) {
      return startExitCode(context, error);
    }
    stdout.write(`${id}\n`);
    return 0;
  }
  const tty = flags.bool("tty");
  const { stdin, stdout: output, stderr: errors } = attachedStreams(flags);
  const stream = await client.hijack(`/containers/${id}/attach`, {
    query: {
      stream: true,
      stdin,
      stdout: output,
      stderr: errors,
      detachKeys: detachKeysOf(context),
    },
  });
  // The wait is placed before the start: a container that ends at once, or is removed by --rm, is
  // not missed.
  const condition = flags.bool("rm") ? "removed" : "next-exit";
  const waiting = new AbortController();
  const exit = client.post<{ StatusCode: number }>(`/containers/${id}/wait`, undefined, {
    query: { condition },
    signal: waiting.signal,
  });
  exit.catch(() => undefined);
  const streams = runStreams(context, stream, { tty, stdin });
  streams.catch(() => undefined);
  const started = client.post(`/containers/${id}/start`);
  const stopProxy = proxySignals(context, id, tty, started);
  try {
    await started;
  } catch (error) {
    stream.socket.destroy();
    // What is still open would keep this program from ending.
    waiting.abort();
    if (flags.bool("rm"))
      await client.delete(`/containers/${id}`, { force: true }).catch(() => undefined);
    return startExitCode(context, error);
  }
  const stopResize = tty ? followSize(context, `/containers/${id}/resize`) : () => undefined;
  const outcome = await streams;
  stopResize();
  stopProxy();
  if (outcome === "detached") {
    waiting.abort();
    return 0;
  }
  return (await exit).StatusCode;
}

/** docker run's own codes: 127 command not found, 126 not executable, 125 everything else. */
function startExitCode(context: CommandContext, error: unknown): number {
  const message = error instanceof Error ? error.message : String(error);
  context.stderr.write(`skep: ${message}\n\nRun 'skep run --help' for more information\n`);
  if (/executable file not found|no such file or directory/.test(message)) return 127;
  return /permission denied|is a directory/.test(message) ? 126 : 125;
}

async function start(context: CommandContext): Promise<number> {
  const { flags, args, client, stdout, stderr } = context;
  if (!flags.bool("attach") && !flags.bool("interactive")) {
    const failed: string[] = [];
    for (const name of args) {
      try {
        await client.post(`/containers/${name}/start`);
        stdout.write(`${name}\n`);
      } catch (error) {
        failed.push(name);
        stderr.write(`${messageOf(error)}\n`);
      }
    }
    if (failed.length === 0) return 0;
    stderr.write(`Error: failed to start containers: ${failed.join(", ")}\n`);
    return 1;
  }
  const [name = "", second] = args;
  if (second !== undefined) {
    throw new EngineError(
      "invalid-argument",
      "you cannot start and attach multiple containers at once",
    );
  }
  const stdin = flags.bool("interactive");
  const begin = () => client.post(`/containers/${name}/start`);
  const outcome = await attachTo(context, name, stdin, begin);
  return outcome === "detached" ? 0 : outcome;
}

async function attachTo(
  context: CommandContext,
  name: string,
  stdin: boolean,
  begin: (() => Promise<unknown>) | undefined,
): Promise<number | "detached"> {
  const { client } = context;
  const { Config } = await client.get<ContainerInspect>(`/containers/${name}/json`);
  const tty = Config.Tty === true;
  const withInput = stdin && Config.OpenStdin === true;
  requireTerminal(context, { tty, stdin: withInput });
  const stream = await client.hijack(`/containers/${name}/attach`, {
    query: {
      stream: true,
      stdin: withInput,
      stdout: true,
      stderr: true,
      detachKeys: detachKeysOf(context),
    },
  });
  const waiting = new AbortController();
  const exit = client.post<{ StatusCode: number }>(`/containers/${name}/wait`, undefined, {
    query: { condition: "next-exit" },
    signal: waiting.signal,
  });
  exit.catch(() => undefined);
  const streams = runStreams(context, stream, { tty, stdin: withInput });
  const started = begin?.() ?? Promise.resolve();
  const stopProxy = proxySignals(context, name, tty, started);
  try {
    await started;
  } catch (error) {
    stream.socket.destroy();
    waiting.abort();
    throw error;
  }
  const runsAlready = begin === undefined;
  const stopResize = tty
    ? followSize(context, `/containers/${name}/resize`, runsAlready)
    : () => undefined;
  const outcome = await streams;
  stopResize();
  stopProxy();
  if (outcome === "detached") {
    waiting.abort();
    return "detached";
  }
  return (await exit).StatusCode;
}

async function attach(context: CommandContext): Promise<number> {
  const [name = ""] = context.args;
  const { State } = await context.client.get<ContainerInspect>(`/containers/${name}/json`);
  if (!State.Running) {
    throw new EngineError("conflict", "You cannot attach to a stopped container, start it first");
  }
  const stdin = !context.flags.bool("no-stdin");
  const outcome = await attachTo(context, name, stdin, undefined);
  if (outcome === "detached") throw new EngineError("cancelled", DETACHED);
  return outcome;
}

export const RUN_COMMANDS: readonly Command[] = [
  {
    path: ["container", "run"],
    shortcuts: [["run"]],
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    summary: "Create and run a new container from an image",
    flags: [
      ...CREATE_FLAGS,
      { name: "detach", short: "d", kind: "bool", usage: "Run in the background and print the ID" },
      DETACH_KEYS_FLAG,
      SIG_PROXY_FLAG,
    ],
    minArgs: 1,
    maxArgs: undefined,
    flagsFirst: true,
    run,
  },
  {
    path: ["container", "create"],
    shortcuts: [["create"]],
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    summary: "Create a new container",
    flags: CREATE_FLAGS,
    minArgs: 1,
    maxArgs: undefined,
    flagsFirst: true,
    run: async (context) => {
      context.stdout.write(`${await createContainer(context)}\n`);
      return 0;
    },
  },
  {
    path: ["container", "start"],
    shortcuts: [["start"]],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    summary: "Start one or more stopped containers",
    flags: [
      {
        name: "attach",
        short: "a",
        kind: "bool",
        usage: "Attach STDOUT/STDERR and forward signals",
      },
      { name: "interactive", short: "i", kind: "bool", usage: "Attach the container's STDIN" },
      DETACH_KEYS_FLAG,
    ],
    minArgs: 1,
    maxArgs: undefined,
    run: start,
  },
  {
    path: ["container", "attach"],
    shortcuts: [["attach"]],
    usage: "[OPTIONS] CONTAINER",
    summary: "Attach standard streams to a running container",
    flags: [
      { name: "no-stdin", kind: "bool", usage: "Do not attach STDIN" },
      DETACH_KEYS_FLAG,
      SIG_PROXY_FLAG,
    ],
    minArgs: 1,
    maxArgs: 1,
    run: attach,
  },
];
