/** The question before something that cannot be undone. */

import { createInterface } from "node:readline";
import type { CommandContext } from "./command.ts";

/** True for "y" and "yes"; an input that ends is a no. */
export async function confirm(
  { stdin, stdout }: Pick<CommandContext, "stdin" | "stdout">,
  warning: string,
): Promise<boolean> {
  stdout.write(`${warning}\nAre you sure you want to continue? [y/N] `);
  const lines = createInterface({ input: stdin });
  try {
    for await (const line of lines) return /^\s*y(es)?\s*$/i.test(line);
    return false;
  } finally {
    lines.close();
  }
}
