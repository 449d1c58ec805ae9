/** `skep swarm backup` and `restore`: a swarm in one sealed file, and back. */

import { randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, readFile, stat } from "node:fs/promises";
import { EngineError } from "#base/error.ts";
import { isMissing } from "#platform/missing.ts";
import type { Command, CommandContext } from "../command.ts";
import { readAll } from "../http.ts";
import { writeWhole } from "../open-file.ts";
import type { FlagSpec } from "../pflag.ts";
import { JOIN_FLAGS } from "./join-flags.ts";

const KEY_BYTES = 32;
const KEY_FLAG: FlagSpec = {
  name: "key-file",
  kind: "string",
  usage: 'File with the key ("-": standard input); made by backup where it is missing',
};

async function backup({ args, client, flags, stdout }: CommandContext): Promise<number> {
  const path = args[0] ?? "";
  const keyFile = flags.string("key-file");
  const { key, made } = await keyFor(keyFile);
  const answer = await client.stream("POST", "/swarm/backup", { body: { Key: key } });
  await writeWhole(path, answer);
  const { size } = await stat(path);
  if (flags.bool("quiet")) return 0;
  stdout.write(`Backup of the swarm written to ${path} (${size} bytes).\n`);
  if (made && keyFile !== undefined) {
    stdout.write(`Its key is in ${keyFile}. Keep that somewhere else.\n`);
  } else if (made) {
    stdout.write(
      `\nIts key, which is nowhere else:\n\n    ${key}\n\nRestore it on a machine that is in no swarm with 'skep swarm restore ${path}'.\n`,
    );
  }
  return 0;
}

async function keyFor(path: string | undefined): Promise<{ key: string; made: boolean }> {
  if (path !== undefined && path !== "-") {
    try {
      return { key: (await readFile(path, "utf8")).trim(), made: false };
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }
  if (path === "-") return { key: (await readAll(process.stdin)).trim(), made: false };
  const base64 = randomBytes(KEY_BYTES).toString("base64").replace(/=+$/, "");
  const key = `SWMBACKUP-1-${base64}`;
  if (path !== undefined) {
    const file = await open(path, "wx", 0o600);
    await file.writeFile(`${key}\n`);
    await file.sync();
    await file.close();
  }
  return { key, made: true };
}

async function restore({ args, client, flags, stdin, stdout }: CommandContext): Promise<number> {
  const path = args[0] ?? "";
  const keyFile = flags.string("key-file") ?? "-";
  if (keyFile === "-" && stdin.isTTY) stdout.write("Enter the backup's key: ");
  const key = keyFile === "-" ? await firstLine(stdin) : (await readFile(keyFile, "utf8")).trim();
  if (key === "") throw new EngineError("invalid-argument", "no key given");
  const answer = await client.stream("POST", "/swarm/restore", {
    query: {
      listenAddr: flags.string("listen-addr") ?? "0.0.0.0:2377",
      advertiseAddr: flags.string("advertise-addr"),
      dataPathAddr: flags.string("data-path-addr"),
      availability: flags.string("availability"),
    },
    headers: { "x-backup-key": key, "content-type": "application/octet-stream" },
    raw: createReadStream(path),
  });
  const nodeId = JSON.parse(await readAll(answer)) as string;
  stdout.write(`Swarm restored: current node (${nodeId}) is now its only manager.

The managers of before are removed and must not come back: let them leave with 'skep swarm leave --force'.
Workers that know this manager's address come back by themselves; tell the others on each of them:

    skep swarm reconnect HOST:PORT

`);
  return 0;
}

async function firstLine(stdin: CommandContext["stdin"]): Promise<string> {
  let text = "";
  for await (const chunk of stdin) {
    text += String(chunk);
    const end = text.indexOf("\n");
    if (end >= 0) return text.slice(0, end).trim();
  }
  return text.trim();
}

export const COMMANDS: readonly Command[] = [
  {
    path: ["swarm", "backup"],
    usage: "[OPTIONS] FILE",
    summary: "Write the whole swarm into a sealed file, while it runs",
    flags: [
      KEY_FLAG,
      { name: "quiet", short: "q", kind: "bool", usage: "Say nothing when it went well" },
    ],
    minArgs: 1,
    maxArgs: 1,
    run: backup,
  },
  {
    path: ["swarm", "restore"],
    usage: "[OPTIONS] FILE",
    summary: "Make this machine the first manager of the swarm in a backup",
    flags: [KEY_FLAG, ...JOIN_FLAGS],
    minArgs: 1,
    maxArgs: 1,
    run: restore,
  },
  {
    path: ["swarm", "reconnect"],
    usage: "HOST:PORT",
    summary: "Tell this node where a manager of its swarm is now",
    flags: [],
    minArgs: 1,
    maxArgs: 1,
    run: async ({ args, client, stdout }) => {
      await client.post("/swarm/reconnect", { RemoteAddr: args[0] });
      stdout.write(`This node will ask ${args[0]} for its swarm.\n`);
      return 0;
    },
  },
];
