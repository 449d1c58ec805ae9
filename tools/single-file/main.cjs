// What the single-file program runs. The command line is compiled from inside the program. The engine is
// made of modules and a native library, which must be files: they are unpacked into a folder that only
// this user may write, named after what is in it, and compared with what is in the program at every start.

"use strict";

const { getAsset, getRawAsset } = require("node:sea");
const { chmodSync, lstatSync, mkdirSync, readFileSync, readdirSync, renameSync } = require("node:fs");
const { rmSync, statSync, symlinkSync, writeFileSync } = require("node:fs");
const { createRequire } = require("node:module");
const { homedir } = require("node:os");
const { dirname, join } = require("node:path");
const { Script } = require("node:vm");

const [word, ...rest] = process.argv.slice(2);
/** Folders of other versions that are kept: an engine that runs may still load from its own. */
const KEPT_FOLDERS = 2;

// What no bundle is, so that Node takes the files for what they are.
const PACKAGE = '{"name":"skep","type":"module"}\n';
const LOADER = 'exports.load = () => import("./engine.mjs");\n';

if (word === "engine") runEngine(rest);
else commandLine().main(process.argv.slice(2));

function runEngine(words) {
  const folder = unpacked();
  // Files are loaded by a file: nothing else may import.
  const { load } = createRequire(join(folder, "dist/"))("./load.cjs");
  load().then(({ main }) => main(words));
}

function commandLine() {
  // The lab starts engines by the launcher beside the bundles.
  const filename = join(word === "lab" ? unpacked() : dirname(process.execPath), "dist/cli.cjs");
  const script = new Script(getAsset("dist/cli.cjs", "utf8"), {
    filename,
    cachedData: Buffer.from(getRawAsset("dist/cli.cjs.compiled")),
  });
  const loaded = { exports: {} };
  script.runInThisContext()(loaded.exports, require, loaded, filename);
  return loaded.exports;
}

/** The folder with all files of this program. */
function unpacked() {
  const text = getAsset("manifest.json", "utf8");
  const manifest = JSON.parse(text);
  const root = cacheRoot();
  const folder = join(root, hash(text).slice(0, 16));
  if (isWhole(folder, manifest)) return folder;
  const fresh = `${folder}.${process.pid}.new`;
  rmSync(fresh, { recursive: true, force: true });
  for (const name of Object.keys(manifest)) {
    mkdirSync(dirname(join(fresh, name)), { recursive: true, mode: 0o700 });
    writeFileSync(join(fresh, name), Buffer.from(getRawAsset(name)), { mode: 0o600 });
  }
  writeFileSync(join(fresh, "package.json"), PACKAGE);
  writeFileSync(join(fresh, "dist/load.cjs"), LOADER);
  mkdirSync(join(fresh, "bin"));
  symlinkSync(process.execPath, join(fresh, "bin/skep"));
  rmSync(folder, { recursive: true, force: true });
  try {
    renameSync(fresh, folder);
  } catch (error) {
    // Another one of us was faster.
    rmSync(fresh, { recursive: true, force: true });
    if (!isWhole(folder, manifest)) throw error;
  }
  forgetOldFolders(root);
  return folder;
}

function hash(content) {
  return require("node:crypto").createHash("sha256").update(content).digest("hex");
}

function cacheRoot() {
  const home = process.getuid() === 0 ? "/var/cache" : join(homedir(), ".cache");
  const root = join(process.env.XDG_CACHE_HOME || home, "skep");
  mkdirSync(root, { recursive: true, mode: 0o700 });
  const { uid } = lstatSync(root);
  if (uid !== process.getuid()) {
    process.stderr.write(`skep: ${root} belongs to another user (${uid}): remove it\n`);
    process.exit(1);
  }
  chmodSync(root, 0o700);
  return root;
}

/** Whether all files are there, byte for byte. */
function isWhole(folder, manifest) {
  const holds = (name, wanted) => hash(readFileSync(join(folder, name))) === wanted;
  try {
    return (
      Object.entries(manifest).every(([name, wanted]) => holds(name, wanted)) &&
      holds("package.json", hash(PACKAGE)) &&
      holds("dist/load.cjs", hash(LOADER)) &&
      statSync(join(folder, "bin/skep")).ino === statSync(process.execPath).ino
    );
  } catch {
    return false;
  }
}

function forgetOldFolders(root) {
  const byAge = readdirSync(root)
    .filter((name) => /^[0-9a-f]{16}$/.test(name))
    .sort((a, b) => statSync(join(root, b)).mtimeMs - statSync(join(root, a)).mtimeMs);
  for (const name of byAge.slice(1 + KEPT_FOLDERS)) {
    rmSync(join(root, name), { recursive: true, force: true });
  }
}
