/** The processes of a container as `ps` on the host shows them. */

import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import { runCommand } from "#platform/net/command.ts";
import type { ContainerTop } from "#wire/docker/containers.ts";
import { requireRunning } from "../exec/exec-service.ts";
import type { Container } from "./container.ts";
import { type ContainerContext, publishEvent } from "./context.ts";

export async function topContainer(
  context: ContainerContext,
  container: Container,
  psArguments: string,
): Promise<ContainerTop> {
  const args = (psArguments || "-ef").trim().split(/\s+/);
  // Thread listings have a line per thread, which cannot be told apart by process id.
  if (!args.every((argument) => /^[\w.,=+:%-]+$/.test(argument))) {
    throw new EngineError("invalid-argument", `invalid ps arguments: ${psArguments}`);
  }
  requireRunning(container);
  const pids = new Set((await context.runtime.pids(container.id)).map(({ pid }) => String(pid)));
  const output = await runCommand("ps", args).catch((error: unknown) => {
    if (isErrorCode(error, "internal")) {
      // Only what is wrong, without the usage that follows.
      const [said = ""] = messageOf(error)
        .replace(/^ps exited with \d+: /, "")
        .split("\n");
      throw new EngineError("internal", `ps: ${said}`);
    }
    throw error;
  });
  publishEvent(context, container, "top");
  return parsePs(output, pids);
}

/** Keeps the lines of the given processes; the last column may contain spaces. */
export function parsePs(output: string, pids: ReadonlySet<string>): ContainerTop {
  const [header = "", ...lines] = output.split("\n").filter((line) => line.trim() !== "");
  const titles = header.trim().split(/\s+/);
  const pidColumn = titles.indexOf("PID");
  if (pidColumn < 0)
    throw new EngineError("invalid-argument", "Couldn't find PID field in ps output");
  const processes: string[][] = [];
  for (const line of lines) {
    const fields = line.trim().split(/\s+/);
    if (!pids.has(fields[pidColumn] ?? "")) continue;
    const last = fields.slice(titles.length - 1).join(" ");
    processes.push([...fields.slice(0, titles.length - 1), last]);
  }
  return { Titles: titles, Processes: processes };
}
