/**
 * Node can keep what V8 has compiled (from 22.8 on), so that the next start of the same build need
 * not do it again. The cache lies in the data root: nobody else may write there, and it goes with it.
 */

import { mkdirSync, readdirSync, rmSync } from "node:fs";
import module from "node:module";
import { join } from "node:path";

interface CompileCache {
  readonly enableCompileCache?: (folder: string) => unknown;
  readonly flushCompileCache?: () => void;
}

// The types are those of Node 20.
const node = module as unknown as CompileCache;

/** For what is imported from now on. `build` names the code; caches of other builds are removed. */
export function useCodeCache(dataRoot: string, build: string): void {
  if (node.enableCompileCache === undefined) return;
  const folder = join(dataRoot, "code-cache");
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(folder)) {
      if (name !== build) rmSync(join(folder, name), { recursive: true, force: true });
    }
    node.enableCompileCache(join(folder, build));
  } catch {
    // A start without it is slower, and otherwise the same.
  }
}

/** Writes down what was compiled so far: a process that is killed would not. */
export function saveCodeCache(): void {
  node.flushCompileCache?.();
}
