/**
 * `login` and `logout`: credentials of registries, kept where docker's command line keeps them, so that
 * either may be used.
 */

import { text } from "node:stream/consumers";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import { askLine, askSilently } from "../ask.ts";
import type { Command, CommandContext } from "../command.ts";
import { configPath } from "../config-file.ts";
import {
  type Credentials,
  credentialsOf,
  eraseCredentials,
  serverKey,
  storeCredentials,
} from "../credentials.ts";

async function login(context: CommandContext): Promise<number> {
  const { args, env, flags } = context;
  const server = serverKey(args[0] ?? "");
  if (!flags.has("username") && !flags.has("password") && !flags.has("password-stdin")) {
    const stored = await credentialsOf(env, server);
    if (stored !== undefined && (await tryStored(context, server, stored))) return 0;
  }
  const { username, password } = await given(context);
  await signIn(context, server, { username, password });
  return 0;
}

/** Whether what an earlier login left is still good. */
async function tryStored(
  context: CommandContext,
  server: string,
  stored: Credentials,
): Promise<boolean> {
  context.stderr.write("Authenticating with existing credentials...\n");
  try {
    await signIn(context, server, stored);
    return true;
  } catch (error) {
    if (!isErrorCode(error, "unauthenticated", "internal")) throw error;
    context.stderr.write(`Login did not succeed, error: ${messageOf(error)}\n`);
    return false;
  }
}

async function given(
  context: CommandContext,
): Promise<{ readonly username: string; readonly password: string }> {
  const { flags, stdin, stderr } = context;
  const username = flags.string("username");
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
  return {
    username: username ?? (await askLine(context, "Username: ")),
    password: password ?? (await askSilently(context, "Password: ")),
  };
}

async function signIn(
  { client, env, stdout, stderr }: CommandContext,
  server: string,
  credentials: Credentials,
): Promise<void> {
  const { Status, IdentityToken = "" } = await client.post<{
    readonly Status: string;
    readonly IdentityToken?: string;
  }>("/auth", { ...credentials, serveraddress: server });
  const { username, password } = credentials;
  const kept = await storeCredentials(
    env,
    server,
    IdentityToken === "" ? credentials : { username, password: "", identitytoken: IdentityToken },
  );
  if (kept === undefined && password !== "") {
    stderr.write(
      `WARNING! Your credentials are stored unencrypted in '${configPath(env)}': set "credsStore" there to the name of a docker-credential-... program to keep them better.\n`,
    );
  }
  stdout.write(`${Status}\n`);
}

async function logout({ args, env, stdout }: CommandContext): Promise<number> {
  const server = serverKey(args[0] ?? "");
  stdout.write(`Removing login credentials for ${server}\n`);
  await eraseCredentials(env, server);
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
