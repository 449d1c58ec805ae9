import { expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import type { CommandContext } from "../command.ts";
import { FORMAT_FLAG, NO_TRUNC_FLAG } from "../command.ts";
import { parseFlags } from "../pflag.ts";
import { imageColumns } from "./image-columns.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;
const IMAGE = `registry.example.org:5000/web:1.4@${DIGEST}`;

function context(argv: readonly string[], created: string | undefined) {
  const parsed = parseFlags([FORMAT_FLAG, NO_TRUNC_FLAG], [...argv], { interspersed: true });
  if (!parsed.ok) throw new Error(parsed.error);
  const asked: string[] = [];
  const get = async (path: string) => {
    asked.push(path);
    if (created === undefined) throw new EngineError("not-found", "no such image");
    return { Created: created };
  };
  const { flags } = parsed.value;
  return { asked, context: { flags, client: { get } } as unknown as CommandContext };
}

test("nothing is asked or told when no column is shown", async () => {
  const { asked, context: one } = context(["--format", "{{.ID}} {{.Image}}"], "");
  expect((await imageColumns(one, [IMAGE], false))(IMAGE)).toEqual({});
  expect(asked).toEqual([]);
});

test("tag, digest and age; each image is asked for once", async () => {
  const created = new Date(Date.now() - 3 * 86_400_000 - 60_000).toISOString();
  const { asked, context: one } = context(["--format", "{{.Digest}} {{.ImageAge}}"], created);
  const columns = await imageColumns(one, [IMAGE, IMAGE], false);
  expect(columns(IMAGE)).toEqual({
    Tag: "1.4",
    Digest: "sha256:abababababab",
    ImageAge: "3 days ago",
  });
  expect(asked).toEqual([`/images/${IMAGE}/json`]);
});

test("in full, of an image that is not here", async () => {
  const { context: one } = context(["--no-trunc"], undefined);
  expect((await imageColumns(one, [IMAGE], true))(IMAGE)).toEqual({
    Tag: "1.4",
    Digest: DIGEST,
    ImageAge: "",
  });
});

test("a tag alone does not ask the engine; without one it is latest", async () => {
  const { asked, context: one } = context(["--format", "{{.Tag}}"], "");
  expect((await imageColumns(one, ["nginx"], false))("nginx").Tag).toBe("latest");
  expect(asked).toEqual([]);
});
