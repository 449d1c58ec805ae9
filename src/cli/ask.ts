/** Questions to whoever sits at the terminal. */

import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import { EngineError } from "#base/error.ts";
import type { CommandContext } from "./command.ts";

type Terminal = Pick<CommandContext, "stdin" | "stdout">;

/** One line, which the terminal itself shows and lets edit. */
export async function askLine({ stdin, stdout }: Terminal, question: string): Promise<string> {
  stdout.write(question);
  return firstLine(createInterface({ input: stdin }));
}

/** One line that is not shown: the terminal is silent before the question is there. */
export async function askSilently({ stdin, stdout }: Terminal, question: string): Promise<string> {
  const output = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: stdin, output, terminal: true });
  stdout.write(question);
  try {
    return await firstLine(lines);
  } finally {
    stdout.write("\n");
  }
}

async function firstLine(lines: ReturnType<typeof createInterface>): Promise<string> {
  try {
    for await (const line of lines) return line;
    throw new EngineError("cancelled", "nothing was typed");
  } finally {
    lines.close();
  }
}
