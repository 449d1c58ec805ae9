/** What `skep build` takes; what it does is loaded when it is run. */

import type { Command } from "../command.ts";
import type { FlagSpec } from "../pflag.ts";

const text = (name: string, usage: string, short?: string): FlagSpec =>
  short === undefined ? { name, kind: "string", usage } : { name, short, kind: "string", usage };
const list = (name: string, usage: string): FlagSpec => ({ name, kind: "list", usage });
const bool = (name: string, usage: string): FlagSpec => ({ name, kind: "bool", usage });
const bytes = (name: string, usage: string): FlagSpec => ({ name, kind: "bytes", usage });
const int = (name: string, usage: string): FlagSpec => ({ name, kind: "int", usage });

const FLAGS: readonly FlagSpec[] = [
  list("add-host", "Another name for /etc/hosts of the commands (host:ip)"),
  list("build-arg", "A value for an ARG (NAME=VALUE, or NAME of the environment)"),
  { ...list("cache-from", "Accepted; the engine's own cache is used"), valueName: "strings" },
  text("cgroup-parent", "Parent cgroup of the commands"),
  bool("compress", "Send the context compressed"),
  int("cpu-period", "Period of the CPU limit, in microseconds"),
  int("cpu-quota", "CPU time of a period, in microseconds"),
  { ...int("cpu-shares", "Weight against others"), short: "c" },
  text("cpuset-cpus", "CPUs of the commands (0-3, 0,1)"),
  text("cpuset-mems", "Memory nodes of the commands (0-3, 0,1)"),
  { ...bool("disable-content-trust", "Accepted"), hidden: true },
  text("file", "The Dockerfile (default PATH/Dockerfile)", "f"),
  bool("force-rm", "Remove intermediate containers also after a failure"),
  text("iidfile", "Write the image's ID to a file"),
  text("isolation", 'Accepted; "default" is the only one on Linux'),
  list("label", "Metadata for the image"),
  { ...bytes("memory", "Memory limit of the commands"), short: "m" },
  text("memory-swap", "Limit of memory and swap together; -1 = none"),
  text("network", "Network of the commands (a network, none, host, container:NAME)"),
  bool("no-cache", "Do not use the cache"),
  text("platform", "Platform of the image, as os/arch"),
  bool("pull", "Pull the base images anew"),
  { ...bool("quiet", "Print the image's ID only"), short: "q" },
  { ...bool("rm", "Remove intermediate containers"), defaultText: "true" },
  list("security-opt", "Security options of the commands"),
  bytes("shm-size", "Size of /dev/shm"),
  bool("squash", "Make one layer of the new ones"),
  { ...list("tag", "Name of the image (name:tag)"), short: "t" },
  text("target", "Stop at this stage"),
  list("ulimit", "Limits of the commands' processes"),
];

export function buildCommand(path: readonly string[]): Command {
  return {
    path,
    usage: "[OPTIONS] PATH | URL | -",
    summary: "Build an image from a Dockerfile",
    flags: FLAGS,
    minArgs: 1,
    maxArgs: 1,
    run: async (context) => (await import("./build.ts")).build(context),
  };
}
