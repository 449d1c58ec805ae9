/** `update`: new limits for containers as they are. */

import { EngineError } from "#base/error.ts";
import type { ContainerUpdateBody } from "#wire/docker/containers.ts";
import { type Command, forEachArg } from "../command.ts";
import { CREATE_FLAGS, compact, restartPolicy } from "./run-flags.ts";

const NAMES = new Set([
  "blkio-weight",
  "cpu-period",
  "cpu-quota",
  "cpu-rt-period",
  "cpu-rt-runtime",
  "cpu-shares",
  "cpus",
  "cpuset-cpus",
  "cpuset-mems",
  "kernel-memory",
  "memory",
  "memory-reservation",
  "memory-swap",
  "pids-limit",
  "restart",
]);

export const UPDATE_COMMANDS: readonly Command[] = [
  {
    path: ["container", "update"],
    shortcuts: [["update"]],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    summary: "Change the limits or the restart policy of containers",
    flags: CREATE_FLAGS.filter(({ name }) => NAMES.has(name)),
    minArgs: 1,
    maxArgs: undefined,
    run: async (context) => {
      const { flags, client, stderr } = context;
      if (![...NAMES].some((name) => flags.has(name))) {
        throw new EngineError(
          "invalid-argument",
          "you must provide one or more flags when using this command",
        );
      }
      const cpus = flags.number("cpus");
      const policy = flags.string("restart");
      const body: ContainerUpdateBody = compact({
        BlkioWeight: flags.number("blkio-weight"),
        CpuPeriod: flags.number("cpu-period"),
        CpuQuota: flags.number("cpu-quota"),
        CpuRealtimePeriod: flags.number("cpu-rt-period"),
        CpuRealtimeRuntime: flags.number("cpu-rt-runtime"),
        CpuShares: flags.number("cpu-shares"),
        CpusetCpus: flags.string("cpuset-cpus"),
        CpusetMems: flags.string("cpuset-mems"),
        Memory: flags.bytes("memory"),
        MemoryReservation: flags.bytes("memory-reservation"),
        MemorySwap: flags.bytes("memory-swap"),
        NanoCpus: cpus === undefined ? undefined : Math.round(cpus * 1e9),
        PidsLimit: flags.number("pids-limit"),
        RestartPolicy: policy === undefined ? undefined : restartPolicy(policy),
      });
      return forEachArg(context, async (name) => {
        const { Warnings } = await client.post<{ readonly Warnings: readonly string[] | null }>(
          `/containers/${name}/update`,
          body,
        );
        for (const warning of Warnings ?? []) stderr.write(`WARNING: ${warning}\n`);
        return name;
      });
    },
  },
];
