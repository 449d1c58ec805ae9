/** `system dial-stdio`: the other end of an `ssh://` address; both directions, half-closes included. */

import { pipeline } from "node:stream/promises";
import type { Command, CommandContext } from "../command.ts";

async function dialStdio({ client, stdin, stdout }: CommandContext): Promise<number> {
  const connection = await client.dial();
  const up = pipeline(stdin, connection);
  const down = pipeline(connection, stdout, { end: true });
  // Whose answer has ended is done, whether the client says more or not.
  await Promise.race([down, up.then(() => down)]);
  return 0;
}

export const DIAL_COMMANDS: readonly Command[] = [
  {
    path: ["system", "dial-stdio"],
    usage: "",
    summary: "Connect standard input and output with the engine's socket",
    flags: [],
    minArgs: 0,
    maxArgs: 0,
    run: dialStdio,
  },
];
