/** Where plug-ins are found, and what is made of their answers. */

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { silentLog } from "#platform/log.ts";
import { realClock } from "#platform/real-ports.ts";
import { readAnswer } from "./client.ts";
import { findPlugin, listPlugins, type PluginFolders, parseJsonSpec } from "./discovery.ts";
import { createPluginRegistry } from "./registry.ts";

let root: string;
let folders: PluginFolders;
let servers: Server[];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "skep-plugins-"));
  folders = { sockets: join(root, "run"), specs: [join(root, "etc"), join(root, "lib")] };
  for (const folder of ["run", "run/deep", "etc", "lib"]) {
    await mkdir(join(root, folder), { recursive: true });
  }
  servers = [];
});

afterEach(async () => {
  for (const server of servers) server.close();
  await rm(root, { recursive: true });
});

async function listen(path: string): Promise<string> {
  const server = createServer((socket) => socket.destroy());
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(join(root, path), resolve));
  return join(root, path);
}

describe("discovery", () => {
  test("sockets, flat or in a folder of their own, win over files", async () => {
    const flat = await listen("run/flat.sock");
    const deep = await listen("run/deep/deep.sock");
    await writeFile(join(root, "etc/flat.spec"), "tcp://10.0.0.1:80");
    expect(await findPlugin(folders, "flat")).toEqual({ name: "flat", target: { socket: flat } });
    expect(await findPlugin(folders, "deep")).toEqual({ name: "deep", target: { socket: deep } });
  });

  test("the first folder of files wins, and in it the .spec", async () => {
    await writeFile(join(root, "lib/x.spec"), "unix:///other.sock\n");
    await writeFile(join(root, "etc/x.json"), '{"Addr":"tcp://10.0.0.1:80"}');
    expect(await findPlugin(folders, "x")).toMatchObject({ target: { url: "http://10.0.0.1:80" } });
    await writeFile(join(root, "etc/x.spec"), "unix:///x.sock\n");
    expect(await findPlugin(folders, "x")).toMatchObject({ target: { socket: "/x.sock" } });
  });

  test("a file with TLS is spoken to by https, unchecked only without a CA", () => {
    const of = (tls: object) =>
      parseJsonSpec("x", JSON.stringify({ Addr: "tcp://h:1", TLSConfig: tls }), "x.json");
    expect(of({})).toMatchObject({ target: { url: "https://h:1" }, tls: { skipVerify: true } });
    expect(of({ CAFile: "/ca.pem" }).tls).toEqual({ ca: "/ca.pem", skipVerify: false });
  });

  test("all names, each once, and none that leads elsewhere", async () => {
    await listen("run/a.sock");
    await listen("run/deep/deep.sock");
    await writeFile(join(root, "etc/a.spec"), "unix:///x");
    await writeFile(join(root, "lib/b.json"), "{}");
    await writeFile(join(root, "lib/.hidden.json"), "{}");
    expect(await listPlugins(folders)).toEqual(["a", "b", "deep"]);
    expect(await findPlugin(folders, "../run/a")).toBeUndefined();
  });

  test.each([
    ["not json", "is not JSON"],
    ["{}", 'has no "Addr"'],
    ["null", 'has no "Addr"'],
    ['{"Addr":"ftp://x"}', "names no usable address"],
    ['{"Addr":"unix://relative"}', "names no usable address"],
  ])("the file %s is refused with its path", (text, reason) => {
    expect(() => parseJsonSpec("x", text, "/etc/x.json")).toThrow(`/etc/x.json ${reason}`);
  });

  test("whatever a file holds, it is an address or a clear refusal", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        try {
          expect(parseJsonSpec("x", text, "p").name).toBe("x");
        } catch (error) {
          expect(error).toBeInstanceOf(EngineError);
        }
      }),
    );
  });
});

describe("answers", () => {
  test("an error stands in Err or Error, or is the text of a failed call", () => {
    expect(() => readAnswer("X.Y", 200, '{"Err":"boom"}')).toThrow(/^boom$/);
    expect(() => readAnswer("X.Y", 200, '{"Error":"bang"}')).toThrow(/^bang$/);
    expect(() => readAnswer("X.Y", 500, '{"Err":"boom"}')).toThrow(/^X.Y: boom$/);
    expect(() => readAnswer("X.Y", 500, "plain\n")).toThrow(/^X.Y: plain$/);
  });

  test("a method that the plug-in does not have is told apart", () => {
    try {
      readAnswer("X.Y", 404, "404 page not found");
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ code: "unimplemented" });
    }
  });

  test("whatever comes, it is an object or an EngineError", () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.json()),
        fc.constantFrom(200, 404, 500),
        (text, status) => {
          try {
            expect(typeof readAnswer("X.Y", status, text)).toBe("object");
          } catch (error) {
            expect(error).toBeInstanceOf(EngineError);
          }
        },
      ),
    );
  });
});

test("a socket that nobody serves any more holds up no list", async () => {
  await listen("run/dead.sock");
  const plugins = createPluginRegistry({ folders, clock: realClock, log: silentLog });
  expect(await plugins.list("VolumeDriver")).toEqual([]);
  await expect(plugins.get("nothing", "VolumeDriver")).rejects.toMatchObject({
    code: "not-found",
    message: 'plugin "nothing" not found',
  });
});
