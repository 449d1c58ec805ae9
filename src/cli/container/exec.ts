/** `exec`: another process in a running container. */

import { EngineError } from "#base/error.ts";
import type { Command, CommandContext } from "../command.ts";
import {
  DETACH_KEYS_FLAG,
  DETACHED,
  detachKeysOf,
  followSize,
  requireTerminal,
  runStreams,
} from "./attach-streams.ts";
import { compact, environment } from "./run-flags.ts";

async function exec(context: CommandContext): Promise<number> {
  const { flags, client } = context;
  const [container = "", ...command] = context.args;
  const tty = flags.bool("tty");
  const stdin = flags.bool("interactive");
  const detach = flags.bool("detach");
  if (!detach) requireTerminal(context, { tty, stdin });
  const { Id } = await client.post<{ Id: string }>(`/containers/${container}/exec`, {
    ...compact({
      User: flags.string("user"),
      WorkingDir: flags.string("workdir"),
      DetachKeys: detachKeysOf(context),
    }),
    AttachStdin: stdin && !detach,
    AttachStdout: !detach,
    AttachStderr: !detach,
    Tty: tty,
    Privileged: flags.bool("privileged"),
    Env: environment(flags, context.env),
    Cmd: command,
  });
  if (detach) {
    await client.post(`/exec/${Id}/start`, { Detach: true, Tty: tty });
    return 0;
  }
  const stream = await client.hijack(`/exec/${Id}/start`, { body: { Detach: false, Tty: tty } });
  const stopResize = tty ? followSize(context, `/exec/${Id}/resize`) : () => undefined;
  const outcome = await runStreams(context, stream, { tty, stdin });
  stopResize();
  if (outcome === "detached") throw new EngineError("cancelled", DETACHED);
  const { ExitCode } = await client.get<{ ExitCode: number | null }>(`/exec/${Id}/json`);
  return ExitCode ?? 0;
}

export const EXEC_COMMANDS: readonly Command[] = [
  {
    path: ["container", "exec"],
    shortcuts: [["exec"]],
    usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    summary: "Execute a command in a running container",
    flags: [
      { name: "detach", short: "d", kind: "bool", usage: "Run the command in the background" },
      DETACH_KEYS_FLAG,
      { name: "env", short: "e", kind: "list", usage: "Set environment variables" },
      { name: "env-file", kind: "list", usage: "Read in a file of environment variables" },
      { name: "interactive", short: "i", kind: "bool", usage: "Keep STDIN open" },
      { name: "privileged", kind: "bool", usage: "Give extended privileges to the command" },
      { name: "tty", short: "t", kind: "bool", usage: "Allocate a pseudo-TTY" },
      { name: "user", short: "u", kind: "string", usage: "Username or UID" },
      { name: "workdir", short: "w", kind: "string", usage: "Working directory" },
    ],
    minArgs: 2,
    maxArgs: undefined,
    flagsFirst: true,
    run: exec,
  },
];
