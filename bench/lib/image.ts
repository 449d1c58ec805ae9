/** The image of the benches: a static busybox, imported the same way into each engine. */

import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { docker, type Engine } from "./engine.ts";

export const IMAGE = "bench:1";
const SCRIPT = fileURLToPath(new URL("../../tools/demo-image/make.sh", import.meta.url));
const MAX_BYTES = 1 << 26;

export async function importImage(engine: Engine): Promise<void> {
  const archive = join(engine.host.folder, "image.tar");
  writeFileSync(archive, execFileSync("bash", [SCRIPT], { maxBuffer: MAX_BYTES }));
  await docker(engine, "import", "-c", 'CMD ["sleep","100000"]', archive, IMAGE);
}
