import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createClient } from "./http.ts";
import { openForRead } from "./open-file.ts";

const folder = mkdtempSync(join(tmpdir(), "skep-http-"));
const path = join(folder, "s");
let server: Server;

beforeAll(async () => {
  server = createServer((request, response) => {
    request.on("error", () => undefined);
    request.resume().on("end", () => response.end("{}"));
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
});
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

const client = createClient(async () => ({ host: `unix://${path}` }), { HOME: folder });

test("a body that breaks off ends the request, and says why", async () => {
  async function* broken() {
    yield Buffer.from("some of it");
    throw new Error("the disk is gone");
  }
  const raw = Readable.from(broken());
  await expect(client.stream("POST", "/images/load", { raw })).rejects.toThrow("the disk is gone");
});

test("a folder is no file to read", async () => {
  await expect(openForRead(folder)).rejects.toThrow(`read ${folder}: is a directory`);
  await expect(openForRead(join(folder, "none"))).rejects.toThrow(
    `open ${join(folder, "none")}: no such file or directory`,
  );
});
