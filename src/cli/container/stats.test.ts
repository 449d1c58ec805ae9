import { Readable, Writable } from "node:stream";
import { expect, test } from "vitest";
import type { CommandContext } from "../command.ts";
import { parseFlags } from "../pflag.ts";
import { STATS } from "./stats.ts";

test("what is drawn of all containers ends with the engine", async () => {
  const stdout = new Writable({ write: (_chunk, _encoding, done) => done() });
  const parsed = parseFlags(STATS.flags, [], { interspersed: true });
  if (!parsed.ok) throw new Error(parsed.error);
  const client = { get: async () => [], stream: async () => Readable.from([]) };
  const context = { ...parsed.value, stdout, client, env: {} } as unknown as CommandContext;
  await expect(STATS.run(context)).rejects.toThrow("the engine went away");
});
