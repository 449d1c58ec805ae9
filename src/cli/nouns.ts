/**
 * The commands by their words: which noun has them, which words at the top stand for one, and the
 * flags before them. A noun's commands are loaded when they are asked for, so that `skep ps` does not
 * pay for the rest.
 */

import type { Command } from "./command.ts";
import type { FlagSpec } from "./pflag.ts";

type Loader = () => Promise<readonly Command[]>;

/** Where the commands of each first word live; shortcuts (`ps`, `run`) are looked up by name. */
export const NOUNS: Readonly<Record<string, { readonly load: Loader; readonly summary: string }>> =
  {
    container: {
      load: async () => (await import("./container/index.ts")).COMMANDS,
      summary: "Manage containers",
    },
    image: {
      load: async () => (await import("./image/index.ts")).COMMANDS,
      summary: "Manage images",
    },
    builder: {
      load: async () => (await import("./builder/index.ts")).COMMANDS,
      summary: "Build images, and manage the build cache",
    },
    network: {
      load: async () => (await import("./network/index.ts")).COMMANDS,
      summary: "Manage networks",
    },
    volume: {
      load: async () => (await import("./volume/index.ts")).COMMANDS,
      summary: "Manage volumes",
    },
    system: {
      load: async () => (await import("./system/index.ts")).COMMANDS,
      summary: "Manage the engine",
    },
    swarm: {
      load: async () => (await import("./swarm/index.ts")).COMMANDS,
      summary: "Manage the swarm",
    },
    node: {
      load: async () => (await import("./node/index.ts")).COMMANDS,
      summary: "Manage swarm nodes",
    },
    plugin: {
      load: async () => (await import("./plugin/index.ts")).COMMANDS,
      summary: "Managed plugins, which this engine does not have",
    },
    context: {
      load: async () => (await import("./context/index.ts")).COMMANDS,
      summary: "Manage contexts: which engine commands are for",
    },
    secret: {
      load: async () => (await import("./secret/index.ts")).COMMANDS,
      summary: "Manage secrets of the swarm",
    },
    config: {
      load: async () => (await import("./config/index.ts")).COMMANDS,
      summary: "Manage configs of the swarm",
    },
    service: {
      load: async () => (await import("./service/index.ts")).COMMANDS,
      summary: "Manage swarm services",
    },
    stack: {
      load: async () => (await import("./stack/index.ts")).COMMANDS,
      summary: "Manage stacks of services, from Compose files",
    },
    lab: {
      load: async () => (await import("./lab/index.ts")).COMMANDS,
      summary: "A whole cluster on this machine, for trying and testing",
    },
    completion: {
      load: async () => (await import("./completion/index.ts")).COMMANDS,
      summary: "Completion of words in your shell",
    },
  };

/** Top-level words that belong to a noun: `skep ps` is `skep container ls`. */
export const SHORTCUTS: Readonly<Record<string, string>> = {
  ...fromNoun(
    "container",
    "attach commit cp create diff exec export kill logs pause port ps rename restart rm run",
  ),
  ...fromNoun("container", "start stats stop top unpause update wait"),
  ...fromNoun("image", "history images import load pull push rmi save search tag"),
  ...fromNoun("system", "events info inspect login logout version"),
  build: "builder",
};

function fromNoun(noun: string, words: string): Readonly<Record<string, string>> {
  return Object.fromEntries(words.split(" ").map((word) => [word, noun]));
}

export const GLOBAL_FLAGS: readonly FlagSpec[] = [
  {
    name: "config",
    kind: "string",
    usage: "Folder of the configuration of docker's command line",
    defaultText: "~/.docker",
  },
  { name: "context", short: "c", kind: "string", usage: "Context that tells where the engine is" },
  { name: "host", short: "H", kind: "list", usage: "Engine socket to connect to" },
  { name: "debug", short: "D", kind: "bool", usage: "Show where errors come from" },
  { name: "log-level", short: "l", kind: "string", usage: "Accepted", hidden: true },
  { name: "tls", kind: "bool", usage: "Use TLS, with whoever answers" },
  { name: "tlscacert", kind: "string", usage: "Trust certificates that this authority signed" },
  { name: "tlscert", kind: "string", usage: "Certificate to show to the engine" },
  { name: "tlskey", kind: "string", usage: "Its private key" },
  { name: "tlsverify", kind: "bool", usage: "Use TLS, and verify who answers" },
  { name: "help", short: "h", kind: "bool", usage: "Print usage" },
  { name: "version", short: "v", kind: "bool", usage: "Print version information and quit" },
];

export interface Found {
  readonly command: Command;
  /** As it is called here: by a word of its own ("ps"), else by its whole name. */
  readonly words: readonly string[];
  readonly rest: readonly string[];
}

export async function findCommand(words: readonly string[]): Promise<Found | undefined> {
  const noun = Object.hasOwn(SHORTCUTS, words[0] ?? "") ? SHORTCUTS[words[0] ?? ""] : words[0];
  const entry = noun !== undefined && Object.hasOwn(NOUNS, noun) ? NOUNS[noun] : undefined;
  if (entry === undefined) return undefined;
  for (const command of await entry.load()) {
    for (const path of pathsOf(command)) {
      if (path.every((word, index) => words[index] === word)) {
        const own = command.shortcuts?.includes(path) === true;
        return { command, words: own ? path : command.path, rest: words.slice(path.length) };
      }
    }
  }
  return undefined;
}

export function pathsOf(command: Command): readonly (readonly string[])[] {
  const parent = command.path.slice(0, -1);
  const named = (command.aliases ?? []).map((alias) => [...parent, alias]);
  return [command.path, ...named, ...(command.shortcuts ?? [])];
}
