/** `--sig-proxy`: what is sent to this program while it stays with a container is the container's. */

import type { CommandContext } from "../command.ts";

/** Those that a user or an init system sends; KILL and STOP cannot be caught. */
const PROXIED = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2"] as const;

/** So many requests to end mean this program, whatever the container makes of them. */
const PATIENCE = 3;

/** Hands signals on, those before the start after it, until the returned function is called. A terminal's keys are bytes to its container. */
export function proxySignals(
  { client, flags, stderr }: CommandContext,
  container: string,
  tty: boolean,
  started: Promise<unknown>,
): () => void {
  if (tty || (flags.has("sig-proxy") && !flags.bool("sig-proxy"))) return () => undefined;
  let ends = 0;
  const forward = (signal: NodeJS.Signals) => {
    if (signal === "SIGINT" || signal === "SIGTERM") ends += 1;
    if (ends >= PATIENCE) {
      stderr.write(`skep: asked ${PATIENCE} times to end: the container is left as it is\n`);
      process.exit(1);
    }
    // One that has ended meanwhile tells its exit code in a moment.
    started
      .then(() => client.post(`/containers/${container}/kill`, undefined, { query: { signal } }))
      .catch(() => undefined);
  };
  for (const signal of PROXIED) process.on(signal, forward);
  return () => {
    for (const signal of PROXIED) process.off(signal, forward);
  };
}
