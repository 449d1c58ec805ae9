// Generates the wire code from proto/ and bundles the program into dist/: `engine.mjs` (the daemon),
// `cli.cjs` (everything else) and what V8 compiles of it. Does nothing when no input is newer than the
// last build. Plain JavaScript, because it runs before anything can compile.
//
// `--force` builds all the same. `--out=FOLDER` puts a program of its own there, for drills of upgrades:
// with `--version=V` and `--feature-level=N` it is one that another release might be.

import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const out = option("out");
const base = out ?? root;
const force = out !== undefined || process.argv.includes("--force");

function option(name) {
  const prefix = `--${name}=`;
  return process.argv.find((word) => word.startsWith(prefix))?.slice(prefix.length);
}

/** The newest modification time below a path, milliseconds. */
function newest(path) {
  if (!existsSync(path)) return 0;
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.mtimeMs;
  let latest = 0;
  for (const entry of readdirSync(path)) latest = Math.max(latest, newest(join(path, entry)));
  return latest;
}

function upToDate(stamp, inputs) {
  return !force && existsSync(stamp) && statSync(stamp).mtimeMs >= Math.max(...inputs.map((input) => newest(join(root, input))));
}

function generate() {
  const stamp = join(root, "src/wire/gen/.stamp");
  if (upToDate(stamp, ["proto", "buf.yaml", "buf.gen.yaml", "package-lock.json"])) return;
  const bin = join(root, "node_modules/.bin");
  const run = spawnSync(join(bin, "buf"), ["generate"], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` },
  });
  if (run.status !== 0) process.exit(run.status ?? 1);
  writeFileSync(stamp, "");
}

async function bundle() {
  const stamp = join(base, "dist/.stamp");
  if (upToDate(stamp, ["src", "bin", "package.json", "package-lock.json", "tools/build.mjs", "tools/compile.cjs"])) return;
  mkdirSync(join(base, "dist"), { recursive: true });
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const common = commonOptions(version);
  const engine = await build({
    ...common,
    entryPoints: { engine: "src/daemon/main.ts" },
    outExtension: { ".js": ".mjs" },
    splitting: true,
    format: "esm",
    // CommonJS packages inside the bundle still ask for Node's own modules by require.
    banner: { js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);' },
  });
  rmSync(join(base, "dist/cli.cjs.compiled"), { force: true });
  // One file, because each costs about a millisecond to find and link, and a function as text, because
  // compiled code can be given only to a script. What is imported lazily still runs lazily.
  const cli = await build({
    ...common,
    entryPoints: { cli: "src/cli/main.ts" },
    outExtension: { ".js": ".cjs" },
    format: "cjs",
    supported: { "dynamic-import": false },
    define: { ...common.define, "import.meta.url": "__url" },
    banner: {
      js: `(function (exports, __load, module, __filename) { const __url = __load("node:url").pathToFileURL(__filename).href; const require = (${String(lazily)})(__load, new Set(${JSON.stringify(LAZY)}));`,
    },
    footer: { js: "})" },
  });
  refuseCopies(join(base, "dist/cli.cjs"));
  compile(join(base, "dist/cli.cjs"));
  const outputs = [engine, cli].flatMap(({ metafile }) => Object.keys(metafile.outputs));
  forgetOldChunks([...outputs, "dist/cli.cjs.compiled"].map((path) => basename(path)));
  writeFileSync(stamp, "");
}

// Node's own modules that a command that lists does not need: each costs some tenths of a millisecond.
// Not those that are imported where they are used: esbuild copies what such a module has.
const LAZY = [
  "node:child_process",
  "node:crypto",
  "node:fs/promises",
  "node:http",
  "node:os",
  "node:readline",
  "node:stream/consumers",
  "node:stream/promises",
  "node:timers/promises",
  "node:zlib",
];

function refuseCopies(bundle) {
  const copied = readFileSync(bundle, "utf8").matchAll(/__toESM\(require\("([^"]*)"/g);
  for (const [, name] of copied) {
    if (LAZY.includes(name)) throw new Error(`${name} is imported where it is used: take it out of LAZY`);
  }
}

/** Text of the bundle: `require` that loads these modules when something of them is used first. */
function lazily(load, lazy) {
  const of = (name) => new Proxy({}, { get: (_none, key) => load(name)[key] });
  return (name) => (lazy.has(name) ? of(name) : load(name));
}

function commonOptions(version) {
  const level = option("feature-level");
  return {
    absWorkingDir: root,
    outdir: join(base, "dist"),
    bundle: true,
    platform: "node",
    // The ES form of packages that have both: the CommonJS form loses its named exports when imported.
    mainFields: ["module", "main"],
    target: "node20",
    // Native code cannot be bundled; it is found beside the bundle in node_modules.
    external: ["koffi"],
    define: {
      SKEP_VERSION: JSON.stringify(option("version") ?? version),
      SKEP_COMMIT: JSON.stringify(commit()),
      ...(level === undefined ? {} : { SKEP_FEATURE_LEVEL: String(Number(level)) }),
    },
    // Node keeps the text in memory, twice as large where it is not all ASCII. Names stay for stack
    // traces, and so do lines.
    minifyWhitespace: true,
    minifySyntax: true,
    lineLimit: 120,
    legalComments: "linked",
    logLevel: "warning",
    sourcemap: "linked",
    metafile: true,
  };
}

// In a process of its own: V8 keeps what has run, and it refuses the code under other flags than ours.
function compile(bundle) {
  const run = spawnSync(process.execPath, [join(root, "tools/compile.cjs"), bundle], {
    cwd: root,
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, NODE_OPTIONS: "" },
  });
  if (run.status !== 0) process.exit(run.status ?? 1);
}

// An engine that runs may still load chunks of the build that it came from: those of the build before
// this one stay, older ones go.
function forgetOldChunks(outputs) {
  const list = join(base, "dist/outputs.json");
  const before = existsSync(list) ? JSON.parse(readFileSync(list, "utf8")) : [];
  const kept = new Set([...outputs, ...before]);
  for (const name of readdirSync(join(base, "dist"))) {
    if (/\.[cm]js(\.map|\.LEGAL\.txt)?$/.test(name) && !kept.has(name)) rmSync(join(base, "dist", name));
  }
  writeFileSync(list, JSON.stringify(outputs));
}

function commit() {
  const run = spawnSync("git", ["rev-parse", "--short=7", "HEAD"], { cwd: root, encoding: "utf8" });
  return run.status === 0 ? run.stdout.trim() : "unknown";
}

/** What a program needs beside its bundles. */
function furnish() {
  if (out === undefined) return;
  mkdirSync(join(out, "bin"), { recursive: true });
  copyFileSync(join(root, "bin/skep"), join(out, "bin/skep"));
  rmSync(join(out, "node_modules"), { force: true });
  symlinkSync(join(root, "node_modules"), join(out, "node_modules"));
}

generate();
await bundle();
furnish();
