import { Readable, Writable } from "node:stream";
import { expect, test } from "vitest";
import type { CommandContext } from "../command.ts";
import { parseFlags } from "../pflag.ts";
import { LOGS } from "./logs.ts";

const own = (task: string) =>
  `com.docker.swarm.node.id=n,com.docker.swarm.service.id=s,com.docker.swarm.task.id=${task}`;

function frame(text: string): Buffer {
  const head = Buffer.alloc(8);
  head[0] = 1;
  head.writeUInt32BE(Buffer.byteLength(text), 4);
  return Buffer.concat([head, Buffer.from(text)]);
}

const ANSWERS: Readonly<Record<string, unknown>> = {
  "/services/web": {
    ID: "s",
    Spec: { Name: "web", Mode: {}, TaskTemplate: { ContainerSpec: {} } },
  },
  "/services/s": { Spec: { Name: "web" } },
  "/nodes/n": { Description: { Hostname: "h1" } },
  "/tasks/a": { Slot: 1 },
  "/tasks/b": { Slot: 2 },
};

test("the end of a line that has none is shown, and is nobody else's", async () => {
  const written: string[] = [];
  const out = new Writable({
    write: (chunk, _encoding, done) => {
      written.push(String(chunk));
      done();
    },
  });
  const parsed = parseFlags(LOGS.flags, ["--no-task-ids", "web"], { interspersed: true });
  if (!parsed.ok) throw new Error(parsed.error);
  const frames = [`${own("a")} asks: `, `${own("b")} one\n`, `${own("b")} last`].map(frame);
  const client = {
    get: async (path: string) => ANSWERS[path],
    stream: async () => Readable.from(frames),
  };
  const streams = { stdout: out, stderr: out };
  const context = { ...parsed.value, ...streams, client } as unknown as CommandContext;
  expect(await LOGS.run(context)).toBe(0);
  expect(written).toEqual(["web.1@h1    | asks: ", "web.2@h1    | one\n", "web.2@h1    | last"]);
});
