/**
 * `login` and `logout`: credentials of registries, kept where docker's command line keeps them
 * (`config.json`), so that either may be used.
 */

import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { EngineError, messageOf } from "#base/error.ts";
import { isMissing } from "#platform/missing.ts";
import type { Command, CommandContext } from "../command.ts";

const HUB = "https://index.docker.io/v1/";

interface ConfigFile {
  readonly auths?: Readonly<Record<string, object>>;
  readonly credsStore?: string;
  readonly [other: string]: unknown;
}

function configPath(env: NodeJS.ProcessEnv): string {
  return join(env.DOCKER_CONFIG ?? join(env.HOME ?? homedir(), ".docker"), "config.json");
}

async function readConfig(path: string): Promise<ConfigFile> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as ConfigFile;
  } catch (error) {
    if (isMissing(error)) return {};
    throw new EngineError("invalid-argument", `cannot read ${path}: ${messageOf(error)}`);
  }
}

async function writeConfig(path: string, config: ConfigFile): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(`${path}.new`, `${JSON.stringify(config, null, "\t")}\n`, { mode: 0o600 });
  await rename(`${path}.new`, path);
}

async function login(context: CommandContext): Promise<number> {
  const { args, client, env, flags, stdin, stdout, stderr } = context;
  const server = args[0] ?? HUB;
  let username = flags.string("username");
  let password = flags.string("password");
  if (flags.bool("password-stdin")) {
    if (password !== undefined) {
      throw new EngineError(
        "invalid-argument",
        "conflicting options: cannot specify both --password and --password-stdin",
      );
    }
    if (username === undefined) {
      throw new EngineError(
        "invalid-argument",
        "the --password-stdin option requires --username to be set",
      );
    }
    password = (await text(stdin)).replace(/\r?\n$/, "");
  } else if (password !== undefined) {
    stderr.write("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n");
  }
  if ((username === undefined || password === undefined) && stdin.isTTY !== true) {
    throw new EngineError(
      "invalid-argument",
      "Error: Cannot perform an interactive login from a non TTY device",
    );
  }
  username ??= await ask(context, "Username: ");
  password ??= await ask(context, "Password: ", true);
  const { Status, IdentityToken } = await client.post<{
    readonly Status: string;
    readonly IdentityToken?: string;
  }>("/auth", { username, password, serveraddress: server });
  const path = configPath(env);
  const config = await readConfig(path);
  if (config.credsStore !== undefined) {
    stderr.write(
      `WARNING! The credentials are not given to ${config.credsStore}, but kept in ${path}.\n`,
    );
  }
  const auth = Buffer.from(`${username}:${password}`).toString("base64");
  const entry = IdentityToken ? { auth, identitytoken: IdentityToken } : { auth };
  await writeConfig(path, { ...config, auths: { ...config.auths, [server]: entry } });
  stdout.write(`${Status}\n`);
  return 0;
}

/** One line of the terminal's; `hidden` shows nothing of it. */
async function ask(context: CommandContext, question: string, hidden = false): Promise<string> {
  const { stdin, stdout } = context;
  stdout.write(question);
  const lines = createInterface({
    input: stdin,
    ...(hidden ? {} : { output: stdout }),
    terminal: true,
  });
  try {
    for await (const line of lines) return line;
    throw new EngineError("cancelled", "nothing was typed");
  } finally {
    lines.close();
    if (hidden) stdout.write("\n");
  }
}

async function logout({ args, env, stdout }: CommandContext): Promise<number> {
  const server = args[0] ?? HUB;
  const path = configPath(env);
  const config = await readConfig(path);
  const { [server]: found, ...auths } = config.auths ?? {};
  stdout.write(`Removing login credentials for ${server}\n`);
  if (found !== undefined) await writeConfig(path, { ...config, auths });
  return 0;
}

export const LOGIN_COMMANDS: readonly Command[] = [
  {
    path: ["system", "login"],
    shortcuts: [["login"]],
    usage: "[OPTIONS] [SERVER]",
    summary: "Sign in to a registry",
    flags: [
      { name: "username", short: "u", kind: "string", usage: "Username" },
      { name: "password", short: "p", kind: "string", usage: "Password or token" },
      { name: "password-stdin", kind: "bool", usage: "Take the password from STDIN" },
    ],
    minArgs: 0,
    maxArgs: 1,
    run: login,
  },
  {
    path: ["system", "logout"],
    shortcuts: [["logout"]],
    usage: "[SERVER]",
    summary: "Forget the credentials of a registry",
    flags: [],
    minArgs: 0,
    maxArgs: 1,
    run: logout,
  },
];
