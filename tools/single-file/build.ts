/**
 * Builds the single-file program: the Node that runs this, with the command line, the engine and its
 * native module inside (Node's single executable applications).
 * Run: node --import tsx tools/single-file/build.ts OUTPUT
 */

import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { withNote } from "./elf.ts";

/** What Node's own program holds until there is something in it; the digit tells. */
const FUSE = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Name inside → file: the bundles, and the packages that cannot be bundled. */
function assets(): Readonly<Record<string, string>> {
  const outputs = JSON.parse(readFileSync(join(root, "dist/outputs.json"), "utf8")) as string[];
  const bundles = outputs.filter((name) => /\.(mjs|cjs|compiled)$/.test(name));
  const addon = [
    ...filesBelow("node_modules/koffi").filter((path) => /\.(js|cjs|json)$/.test(path)),
    ...filesBelow("node_modules/@koromix"),
  ];
  const paths = [...bundles.map((name) => `dist/${name}`), ...addon];
  return Object.fromEntries(paths.map((path) => [path, join(root, path)]));
}

function filesBelow(folder: string): readonly string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)))
    .filter((path) => !/\/(vendor|doc)\//.test(path));
}

function blobOf(folder: string): Buffer {
  const files = assets();
  const manifest = Object.fromEntries(
    Object.entries(files).map(([name, path]) => [
      name,
      createHash("sha256").update(readFileSync(path)).digest("hex"),
    ]),
  );
  writeFileSync(join(folder, "manifest.json"), JSON.stringify(manifest));
  const config = {
    main: join(root, "tools/single-file/main.cjs"),
    output: join(folder, "blob"),
    disableExperimentalSEAWarning: true,
    assets: { ...files, "manifest.json": join(folder, "manifest.json") },
  };
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  const words = ["--experimental-sea-config", join(folder, "config.json")];
  execFileSync(process.execPath, words, { stdio: ["ignore", "ignore", "inherit"] });
  return readFileSync(config.output);
}

/**
 * Node looks for this flag among all words, also those of ours behind a command's name, and would read
 * a container's variables into its own environment. `--` ends its search, but nothing puts one there.
 */
const ENV_FILE = "--env-file";

/** Gives the flag a name that nobody types, wherever the program holds it. */
function forgetFlag(program: Buffer, flag: string): void {
  const untypable = `${flag.slice(0, -1)}\u0001`;
  for (let at = program.indexOf(flag); at >= 0; at = program.indexOf(flag, at + 1)) {
    // In the bundles it is ours.
    if (program.at(at - 1) === 0) program.write(untypable, at, "latin1");
  }
}

function proveForgotten(program: string, flag: string): void {
  const { status } = spawnSync(program, ["create", flag, "/nowhere/variables", "--help"]);
  if (status !== 0) throw new Error(`Node still takes ${flag} for its own`);
}

function build(output: string): void {
  const folder = mkdtempSync(join(tmpdir(), "skep-single-"));
  try {
    const program = withNote(readFileSync(process.execPath), "NODE_SEA_BLOB", blobOf(folder));
    const fuse = program.indexOf(`${FUSE}:0`);
    if (fuse < 0) throw new Error(`${process.execPath} cannot become a single executable`);
    program.write("1", fuse + FUSE.length + 1, "latin1");
    forgetFlag(program, ENV_FILE);
    rmSync(output, { force: true });
    writeFileSync(output, program);
    chmodSync(output, 0o755);
    proveForgotten(output, ENV_FILE);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  process.stdout.write(`${output}: ${(statSync(output).size / 1e6).toFixed(0)} MB\n`);
}

const [output] = process.argv.slice(2);
if (output === undefined) throw new Error("say where the program shall be written");
build(output);
