/** Our engine and, where it can run, dockerd beside it, each with the image that benches use. */

import { openDockerd } from "./dockerd.ts";
import type { Engine } from "./engine.ts";
import { importImage } from "./image.ts";
import { SkepEngine } from "./skep.ts";

export async function openBoth(): Promise<{
  readonly ours: SkepEngine;
  /** Or why there is none. */
  readonly peer: Engine | string;
  readonly engines: readonly Engine[];
}> {
  const ours = new SkepEngine();
  await ours.start();
  const peer = await openDockerd();
  const engines = typeof peer === "string" ? [ours] : [ours, peer];
  for (const engine of engines) await importImage(engine);
  return { ours, peer, engines };
}
