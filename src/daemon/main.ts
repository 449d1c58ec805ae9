/**
 * `skep engine`: configuration, the log, one engine per run root, the composition, its sockets, and
 * an orderly end. Containers and containerd outlive this process; only requests are ended with it.
 */

import { chmodSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { ApiServer, ServerTls } from "#api/server.ts";
import { EngineError, messageOf } from "#base/error.ts";
import { InvariantError } from "#base/invariant.ts";
import type { Log } from "#base/ports.ts";
import { flagUsages } from "#cli/pflag.ts";
import { COMMIT, VERSION } from "#cli/version.ts";
import { type ContainerdServer, startContainerd } from "#platform/containerd/server.ts";
import { createLog, LogThreshold } from "#platform/log.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { saveCodeCache, useCodeCache } from "./code-cache.ts";
import { type DaemonConfig, readConfigFile, resolveConfig } from "./config.ts";
import { keepMemorySmall } from "./memory.ts";
import { DAEMON_OPTIONS } from "./options.ts";
import { type PidLock, takePidLock } from "./pid-lock.ts";
import { Reloader } from "./reloader.ts";

const USAGE = `Usage:  skep engine [OPTIONS]

Run the engine: containers of this host, and its part in a swarm

Options:
${flagUsages(DAEMON_OPTIONS.filter((option) => option.meaning === "used"))}

dockerd's other options are accepted with a warning, or refused where ignoring them would be unsafe.
`;

/** Runs until a signal ends it; sets the exit code. */
export async function main(argv: readonly string[]): Promise<void> {
  const loaded = resolveConfig(argv, readConfigFile);
  if (!loaded.ok) {
    process.stderr.write(`${loaded.error}\nSee 'skep engine --help'.\n`);
    process.exitCode = 1;
    return;
  }
  const { config, warnings, action } = loaded.value;
  if (action === "help") process.stdout.write(USAGE);
  else if (action === "version") process.stdout.write(`skep version ${VERSION}, build ${COMMIT}\n`);
  else if (action === "validate") process.stderr.write("configuration OK\n");
  else await run(argv, config, warnings);
}

async function run(
  argv: readonly string[],
  config: DaemonConfig,
  warnings: readonly string[],
): Promise<void> {
  const threshold = new LogThreshold(config.logLevel);
  const log = createLog(threshold);
  for (const warning of warnings) log.warn(warning);
  const stop = new AbortController();
  watchSignals(stop, log);
  dieOnBugs(log);
  // The timers of the clock port keep nothing alive; a daemon lives until it is told to end.
  const alive = setInterval(() => undefined, 2 ** 30);
  let lock: PidLock | undefined;
  try {
    makeRoots(config);
    lock = takePidLock(config.pidFile);
    const begun = performance.now();
    // It starts while the bulk of our own code is still being read.
    const ownContainerd = startOwnContainerd(config, log, stop.signal);
    useCodeCache(config.dataRoot, `${VERSION}-${COMMIT}`);
    const [{ composeEngine }, { createApiServer }] = await Promise.all([
      import("./compose.ts"),
      import("#api/server.ts"),
    ]);
    const engine = await composeEngine({
      config,
      log,
      ownContainerd,
      clock: realClock,
      random: realRandom,
      signal: stop.signal,
      onFatal: (error) => die(log, error),
    });
    const server = createApiServer({
      routes: engine.routes,
      log: log.child({ part: "api" }),
      version: VERSION,
      onBug: (error) => die(log, error),
    });
    await listen(server, config, log);
    const reloader = new Reloader({ argv, config, engine, threshold, log });
    process.on("SIGHUP", () => reloader.reload());
    log.info("ready", { version: VERSION, startedInMs: Math.round(performance.now() - begun) });
    saveCodeCache();
    const leaveMemory = keepMemorySmall();
    await aborted(stop.signal);
    leaveMemory();
    log.info("stopping; containers keep running");
    await within(reloader.config.shutdownTimeoutSeconds * 1000, log, async () => {
      await server.close();
      await engine.close();
    });
    removeSockets(config);
  } catch (error) {
    if (error instanceof InvariantError) die(log, error);
    log.error("cannot go on", { reason: messageOf(error), error });
    process.exitCode = 1;
  } finally {
    lock?.release();
    clearInterval(alive);
  }
  // What is left are idle connections; nothing that matters is under way any more.
  process.exit();
}

/** Undefined when the host has one to share. */
function startOwnContainerd(
  config: DaemonConfig,
  log: Log,
  signal: AbortSignal,
): Promise<ContainerdServer | undefined> {
  if (config.containerdAddress !== undefined) return Promise.resolve(undefined);
  const started = startContainerd({
    root: join(config.dataRoot, "containerd"),
    state: join(config.execRoot, "containerd"),
    clock: realClock,
    log: log.child({ part: "containerd" }),
    signal,
  });
  // Whoever awaits it hears of a failure, be it later.
  started.catch(() => undefined);
  return started;
}

function makeRoots(config: DaemonConfig): void {
  for (const root of [config.dataRoot, config.execRoot]) {
    mkdirSync(root, { recursive: true, mode: 0o711 });
    chmodSync(root, 0o711);
  }
}

function watchSignals(stop: AbortController, log: Log): void {
  let count = 0;
  const onSignal = (signal: NodeJS.Signals) => {
    count += 1;
    log.info("signal", { signal });
    // As with dockerd: the third one means now.
    if (count === 3) process.exit(128 + 15);
    stop.abort(new EngineError("cancelled", "the engine is stopping"));
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  // Until there is an engine to tell, a reload finds what the start is reading anyway.
  process.on("SIGHUP", () => log.info("signal", { signal: "SIGHUP" }));
}

/** A bug leaves memory that cannot be trusted; the next start recovers from disk. */
function dieOnBugs(log: Log): void {
  process.on("uncaughtException", (error) => die(log, error));
  process.on("unhandledRejection", (error) => die(log, error));
}

function die(log: Log, error: unknown): never {
  log.error("a bug: stopping at once, a restart recovers", { error });
  process.exit(70);
}

async function listen(server: ApiServer, config: DaemonConfig, log: Log): Promise<void> {
  for (const host of config.hosts) {
    const [scheme, rest = ""] = host.split("://", 2);
    if (scheme === "unix") {
      await server.listenUnix(rest, config.group === undefined ? {} : { group: config.group });
    } else if (scheme === "tcp") {
      const { hostname, port } = new URL(`http://${rest}`);
      if (config.tls?.verify !== true && !isLoopback(hostname)) {
        throw new EngineError(
          "invalid-argument",
          `refusing to listen on ${host} without TLS client certificates: whoever reaches it is root here; add --tlsverify`,
        );
      }
      await server.listenTcp(hostname, Number(port || 2375), serverTls(config));
    } else {
      throw new EngineError("invalid-argument", `cannot listen on ${host}: use unix:// or tcp://`);
    }
    log.info("API listens", { host });
  }
}

function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || hostname.startsWith("127.");
}

function serverTls({ tls }: DaemonConfig): ServerTls | undefined {
  if (tls === undefined) return undefined;
  const pem = (path: string) => readFileSync(path, "utf8");
  const base = { cert: pem(tls.cert), key: pem(tls.key) };
  return tls.verify ? { ...base, ca: pem(tls.ca) } : base;
}

function removeSockets(config: DaemonConfig): void {
  for (const host of config.hosts) {
    if (host.startsWith("unix://")) rmSync(host.slice("unix://".length), { force: true });
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) =>
    signal.addEventListener("abort", () => resolve(), { once: true }),
  );
}

/** Waits for the work, but no longer than the shutdown timeout. */
async function within(timeoutMs: number, log: Log, work: () => Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<"late">((resolve) => {
    timer = setTimeout(() => resolve("late"), timeoutMs);
  });
  const outcome = await Promise.race([work().then(() => "done" as const), timeout]);
  clearTimeout(timer);
  if (outcome === "late") log.warn("shutdown took too long; ending all the same", { timeoutMs });
}
