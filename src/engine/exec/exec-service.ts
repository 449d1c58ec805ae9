/**
 * Execs: further processes in running containers. An exec is made, started once, and remembered for
 * a while after its end, so that clients can ask for the exit code. Nothing of it is durable: after
 * a restart of the engine, execs that still run go on without a reader, as docker has it too.
 */

import { EngineError, messageOf } from "#base/error.ts";
import { newHexId } from "#base/ids.ts";
import { type Deferred, deferred, sleep, within } from "#platform/async.ts";
import { withFullDisk } from "#platform/replace-file.ts";
import { parseDetachKeys } from "#wire/detach-keys.ts";
import type { ExecCreateBody, ExecInspect } from "#wire/docker/exec.ts";
import { chooseApparmor } from "../containers/apparmor.ts";
import { type ClientStreams, openSession, type SessionEnd } from "../containers/attach.ts";
import type { Container } from "../containers/container.ts";
import { type ContainerContext, publishEvent } from "../containers/context.ts";
import { linkedEnv } from "../containers/link-env.ts";
import type { OciProcess } from "../containers/oci-spec.ts";
import { OutputHub } from "../containers/output-hub.ts";
import { readUserTables } from "../containers/prepare-spec.ts";
import { ProcessIo } from "../containers/process-io.ts";
import { parseSecurityOptions } from "../containers/security-options.ts";
import { buildEnv, capabilitiesFor } from "../containers/spec.ts";
import { planRlimits } from "../containers/spec-resources.ts";
import { describeStartError } from "../containers/start-error.ts";
import { isAlive } from "../containers/state.ts";
import { resolveUser } from "../containers/user.ts";

export interface Exec {
  readonly id: string;
  readonly container: Container;
  readonly body: ExecCreateBody;
  readonly hub: OutputHub;
  phase: "created" | "running" | "ended";
  pid: number;
  exitCode: number | null;
  io: ProcessIo | undefined;
  readonly started: Deferred<void>;
  readonly ended: Deferred<number>;
}

/** An ended exec can be inspected this long. */
const KEPT_MS = 5 * 60_000;
/** How many new ones it takes until the forgotten are looked for. */
const SWEEP_EVERY = 256;
const NOT_RUNNABLE = 126;
const NOT_FOUND = 127;
const DRAIN_TIMEOUT_MS = 2_000;

export interface ExecService {
  create(reference: string, body: ExecCreateBody): Exec;
  find(id: string): Exec;
  /** Refuses what `start` would refuse, before a connection is taken over. */
  requireStartable(exec: Exec): void;
  /** Starts the process; with `client`, connected to it from its first byte. */
  start(exec: Exec, client: ClientStreams | undefined, size?: TerminalSize): Promise<Attached>;
  resize(exec: Exec, size: TerminalSize): Promise<void>;
  inspect(exec: Exec): ExecInspect;
}

export interface TerminalSize {
  readonly width: number;
  readonly height: number;
}

export interface Attached {
  /** How the client's session ended; "process-ended" at once without a client. */
  readonly ended: Promise<SessionEnd>;
}

export function createExecService(context: ContainerContext): ExecService {
  const execs = new Map<string, Exec>();
  let created = 0;
  /** Those that nobody has started wait for as long as their container is there. */
  const sweep = () => {
    for (const { id, phase, container } of execs.values()) {
      if (phase === "created" && context.registry.get(container.id) !== container) execs.delete(id);
    }
  };
  return {
    create: (reference, body) => {
      const exec = createExec(context, reference, body);
      execs.set(exec.id, exec);
      exec.container.execIds.add(exec.id);
      // Also one that could not be started.
      void exec.ended.promise.then(() =>
        context.clock.setTimer(KEPT_MS, () => execs.delete(exec.id)),
      );
      created += 1;
      if (created % SWEEP_EVERY === 0) sweep();
      return exec;
    },
    find: (id) => {
      const exec = execs.get(id);
      if (exec === undefined) throw new EngineError("not-found", `No such exec instance: ${id}`);
      return exec;
    },
    requireStartable,
    start: (exec, client, size) => startExec(context, exec, client, size),
    resize: async (exec, { width, height }) => {
      await exec.started.promise;
      if (exec.phase !== "running") return;
      await context.runtime.resize(exec.container.id, exec.id, width, height);
    },
    inspect: inspectExec,
  };
}

export function requireRunning(container: Container): void {
  const { phase } = container.state;
  if (phase === "paused") {
    throw new EngineError(
      "conflict",
      `Container ${container.id} is paused, unpause the container before exec`,
    );
  }
  if (!isAlive(phase)) {
    const what =
      phase === "restarting" ? "restarting, wait until the container is running" : "not running";
    throw new EngineError("conflict", `container ${container.id} is ${what}`);
  }
}

export function createExec(
  context: Pick<ContainerContext, "registry" | "random" | "events">,
  reference: string,
  body: ExecCreateBody,
): Exec {
  const container = context.registry.find(reference);
  requireRunning(container);
  if ((body.Cmd ?? []).length === 0) {
    throw new EngineError("invalid-argument", "No exec command specified");
  }
  if (body.DetachKeys) parseDetachKeys(body.DetachKeys);
  const exec: Exec = {
    id: newHexId(context.random),
    container,
    body,
    hub: new OutputHub(),
    phase: "created",
    pid: 0,
    exitCode: null,
    io: undefined,
    started: deferred(),
    ended: deferred(),
  };
  publishExec(context as ContainerContext, exec, "exec_create");
  return exec;
}

export async function startExec(
  context: ContainerContext,
  exec: Exec,
  client: ClientStreams | undefined,
  size?: TerminalSize,
): Promise<Attached> {
  const { container, body } = exec;
  const { runtime } = context;
  requireStartable(exec);
  exec.phase = "running";
  const terminal = body.Tty ?? false;
  // Before the process, so that not a byte of its output is missed.
  const session =
    client === undefined
      ? { ended: Promise.resolve<SessionEnd>("process-ended") }
      : openSession(
          {
            hub: exec.hub,
            terminal,
            stdinOnce: true,
            ready: () => exec.started.promise,
            io: () => exec.io,
          },
          { ...client, detachKeys: client.detachKeys || body.DetachKeys || "" },
        );
  // Both look at disks; a refusal is met below, when there is something to take back.
  const planned = buildProcess(context, exec, size);
  planned.catch(() => undefined);
  try {
    exec.io = await ProcessIo.create({
      folder: `${context.ioRoot}/${container.id}`,
      prefix: `${exec.id.slice(0, 16)}-`,
      stdin: (body.AttachStdin ?? false) && client !== undefined,
      stdout: true,
      stderr: true,
      terminal,
      sink: exec.hub,
      closeStdin: () => runtime.closeStdin(container.id, exec.id),
    });
    await runtime.exec(container.id, exec.id, await planned, exec.io.paths);
    exec.pid = await runtime.start(container.id, exec.id);
  } catch (error) {
    throw await failStart(context, exec, error);
  }
  exec.io.connected();
  exec.started.resolve();
  publishExec(context, exec, "exec_start");
  void watchExec(context, exec);
  return session;
}

function requireStartable({ id, phase, container }: Exec): void {
  if (phase === "running") {
    throw new EngineError("conflict", `exec command ${id} is already running`);
  }
  if (phase === "ended") throw new EngineError("conflict", `exec command ${id} has already run`);
  requireRunning(container);
}

async function failStart(context: ContainerContext, exec: Exec, cause: unknown) {
  const thrown = await withFullDisk(cause, context.ioRoot);
  const { error, exitCode } = describeStartError(thrown, exec.body.Cmd?.[0] ?? "");
  await context.runtime.deleteExec(exec.container.id, exec.id).catch(() => undefined);
  await exec.io?.remove();
  // Docker's code of an exec that cannot be run, whatever the reason, unless there is no program.
  finish(context, exec, exitCode === NOT_FOUND ? exitCode : NOT_RUNNABLE);
  return new EngineError(
    error.code,
    error.message.replace(/^failed to create task for container: /, ""),
    { cause: thrown },
  );
}

async function buildProcess(
  context: ContainerContext,
  exec: Exec,
  size: TerminalSize | undefined,
): Promise<OciProcess> {
  const { body, container } = exec;
  const { config, hostConfig } = container.record;
  container.rootfs ??= await context.runtime.snapshotMounts(
    container.record.snapshotter,
    container.id,
  );
  const security = parseSecurityOptions(hostConfig.SecurityOpt);
  const privileged = hostConfig.Privileged ?? false;
  const [tables, apparmor] = await Promise.all([
    readUserTables(context, container.rootfs),
    chooseApparmor(security.apparmor, privileged, context.host),
  ]);
  const user = resolveUser(body.User || config.User || "", hostConfig.GroupAdd ?? [], tables);
  const ulimits = hostConfig.Ulimits ?? [];
  const terminal = body.Tty ?? false;
  const [height = 0, width = 0] = body.ConsoleSize ?? [];
  const console = size ?? (height > 0 && width > 0 ? { width, height } : undefined);
  return {
    terminal,
    ...(terminal && console !== undefined ? { consoleSize: console } : {}),
    user,
    args: body.Cmd ?? [],
    env: buildEnv(
      [...linkedEnv(context, container.record), ...(config.Env ?? []), ...(body.Env ?? [])],
      config.Hostname ?? "",
      terminal,
    ),
    cwd: body.WorkingDir || config.WorkingDir || "/",
    capabilities: capabilitiesFor(user, {
      privileged: (body.Privileged ?? false) || privileged,
      add: hostConfig.CapAdd ?? [],
      drop: hostConfig.CapDrop ?? [],
      available: context.host.capabilities,
    }),
    noNewPrivileges: security.noNewPrivileges ?? context.defaults.noNewPrivileges,
    // The runtime gives an exec what it is told here, not what the first process has.
    ...(ulimits.length === 0 ? {} : { rlimits: planRlimits(ulimits) }),
    ...(apparmor === undefined ? {} : { apparmorProfile: apparmor }),
    ...(hostConfig.OomScoreAdj ? { oomScoreAdj: hostConfig.OomScoreAdj } : {}),
  };
}

const RECONNECT_DELAY_MS = 200;

async function watchExec(context: ContainerContext, exec: Exec): Promise<void> {
  const { runtime, clock, log } = context;
  const { container } = exec;
  const forever = new AbortController().signal;
  let exitCode = 137;
  for (;;) {
    try {
      exitCode = (await runtime.wait(container.id, exec.id, forever)).exitCode;
      break;
    } catch (error) {
      // The container ended, and its task was deleted with everything in it.
      if (context.closing || !isAlive(container.state.phase)) break;
      const failure = EngineError.from(error);
      if (failure.code !== "unavailable") break;
      await sleep(clock, RECONNECT_DELAY_MS);
    }
  }
  if (exec.io !== undefined) await within(clock, exec.io.ended, DRAIN_TIMEOUT_MS);
  // The client hears of the end first: what is left to do is ours alone.
  finish(context, exec, exitCode);
  publishExec(context, exec, "exec_die", { exitCode: String(exitCode) });
  await runtime
    .deleteExec(container.id, exec.id)
    .catch((error: unknown) =>
      log.debug("an ended exec cannot be deleted", { exec: exec.id, reason: messageOf(error) }),
    );
  await exec.io?.remove();
}

function finish(_context: ContainerContext, exec: Exec, exitCode: number): void {
  exec.phase = "ended";
  exec.container.execIds.delete(exec.id);
  exec.exitCode = exitCode;
  exec.started.resolve();
  exec.ended.resolve(exitCode);
  exec.hub.end();
}

function publishExec(
  context: ContainerContext,
  exec: Exec,
  action: "exec_create" | "exec_start" | "exec_die",
  attributes: Readonly<Record<string, string>> = {},
): void {
  const command = (exec.body.Cmd ?? []).join(" ");
  const text = action === "exec_die" ? action : `${action}: ${command}`;
  publishEvent(context, exec.container, text, { execID: exec.id, ...attributes });
}

function inspectExec(exec: Exec): ExecInspect {
  const { body } = exec;
  const [entrypoint = "", ...args] = body.Cmd ?? [];
  return {
    ID: exec.id,
    Running: exec.phase === "running",
    ExitCode: exec.exitCode,
    ProcessConfig: {
      tty: body.Tty ?? false,
      entrypoint,
      arguments: args,
      privileged: body.Privileged ?? false,
      ...(body.User ? { user: body.User } : {}),
    },
    OpenStdin: body.AttachStdin ?? false,
    OpenStderr: body.AttachStderr ?? false,
    OpenStdout: body.AttachStdout ?? false,
    CanRemove: false,
    ContainerID: exec.container.id,
    DetachKeys: body.DetachKeys ?? "",
    Pid: exec.pid,
  };
}
