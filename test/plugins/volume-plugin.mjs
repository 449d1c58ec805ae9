// A volume plug-in as its own process, as people write them: `node volume-plugin.mjs SOCKET FOLDER`.
// Volumes are directories in FOLDER; every call is appended to FOLDER/calls as one JSON line. It
// prints "ready" when it listens. A volume named "stuck" is never mounted, "broken" fails.
import { appendFileSync, existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";

const [, , socket, folder] = process.argv;
const volumes = join(folder, "volumes");
mkdirSync(volumes, { recursive: true });
const mountpoint = (name) => join(volumes, name);
const row = (Name) => ({ Name, Mountpoint: mountpoint(Name), Status: { kept: "by the plug-in" } });

const methods = {
  "Plugin.Activate": () => ({ Implements: ["VolumeDriver"] }),
  "VolumeDriver.Capabilities": () => ({ Capabilities: { Scope: "global" } }),
  "VolumeDriver.Create": ({ Name, Opts }) => {
    if (Opts?.refuse) return { Err: `no: ${Opts.refuse}` };
    mkdirSync(mountpoint(Name), { recursive: true });
    return {};
  },
  "VolumeDriver.Remove": ({ Name }) => {
    rmSync(mountpoint(Name), { recursive: true });
    return {};
  },
  "VolumeDriver.Mount": ({ Name }) =>
    Name === "broken" ? { Err: "the disk is on fire" } : { Mountpoint: mountpoint(Name) },
  "VolumeDriver.Unmount": () => ({}),
  "VolumeDriver.Get": ({ Name }) =>
    existsSync(mountpoint(Name)) ? { Volume: row(Name) } : { Err: "no such volume" },
  "VolumeDriver.List": () => ({ Volumes: readdirSync(volumes).map(row) }),
};

createServer(async (request, response) => {
  let text = "";
  for await (const chunk of request) text += chunk;
  const method = request.url.slice(1);
  const body = text === "" ? undefined : JSON.parse(text);
  appendFileSync(join(folder, "calls"), `${JSON.stringify({ method, body, accept: request.headers.accept })}\n`);
  if (method === "VolumeDriver.Mount" && body.Name === "stuck") return;
  const answer = methods[method]?.(body);
  response.writeHead(answer === undefined ? 404 : 200, { "Content-Type": "application/json" });
  response.end(answer === undefined ? "404 page not found" : JSON.stringify(answer));
}).listen(socket, () => process.stdout.write("ready\n"));
