// Writes what V8 compiles of a bundle beside it, for the launcher. Run: node tools/compile.cjs BUNDLE
// It holds what has run here: a command that lists, against an engine that has one of everything.

const { readFileSync, writeFileSync, rmSync, mkdtempSync } = require("node:fs");
const { createServer } = require("node:http");
const { tmpdir } = require("node:os");
const { join, resolve } = require("node:path");
const { Script } = require("node:vm");

const CONTAINER = {
  Id: "0".repeat(64),
  Names: ["/name"],
  Image: "image",
  ImageID: "sha256:0",
  Command: "command",
  Created: 0,
  State: "running",
  Status: "Up 1 second",
  Ports: [{ IP: "0.0.0.0", PrivatePort: 80, PublicPort: 80, Type: "tcp" }],
  Labels: { label: "value" },
  Mounts: [],
  NetworkSettings: { Networks: {} },
};

async function run(bundle) {
  const filename = resolve(bundle);
  const script = new Script(readFileSync(filename, "utf8"), { filename });
  const loaded = { exports: {} };
  script.runInThisContext()(loaded.exports, require, loaded, filename);
  const { main } = loaded.exports;
  const folder = mkdtempSync(join(tmpdir(), "skep-build-"));
  const server = createServer((request, response) => {
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify(request.url.includes("/containers/") ? [CONTAINER] : []));
  });
  try {
    // By its short name: a socket's path has 107 bytes at most.
    process.chdir(folder);
    await new Promise((done) => server.listen("s", done));
    await main(["--help"]);
    for (const words of [["ps"], ["service", "ls"], ["images"]]) {
      await main(["-H", "unix://s", ...words]);
    }
    writeFileSync(`${filename}.compiled`, script.createCachedData());
  } finally {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

void run(process.argv[2]);
