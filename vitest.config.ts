import { defineConfig } from "vitest/config";

/**
 * Two projects: `unit` (pure, parallel, no root) and `kernel` (real containerd, namespaces and
 * processes: one file at a time, in forked processes because setns changes the calling process).
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["src/**/*.test.ts", "sim/**/*.test.ts", "tools/**/*.test.ts"],
          pool: "threads",
          // Properties take what a busy machine makes of them; how fast things are is bench/'s subject.
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: "kernel",
          include: ["test/**/*.test.ts"],
          pool: "forks",
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
