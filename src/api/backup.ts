/** `/swarm/backup` and `/swarm/restore`: a swarm in one sealed file. Ours alone. */

import type { Readable } from "node:stream";
import { EngineError } from "#base/error.ts";
import type { ClusterPort } from "./cluster-port.ts";
import { availabilityOf } from "./convert/nodes.ts";
import type { ApiRequest, Routes } from "./route.ts";
import { readBody } from "./swarm-query.ts";

/** Largest backup that is taken in. */
const BACKUP_MAX_BYTES = 512 * 1024 * 1024;
const CONTENT_TYPE = "application/octet-stream";

export function backupRoutes(cluster: ClusterPort): Routes {
  return [
    {
      method: "POST",
      path: "/swarm/backup",
      handler: async (request, response) => {
        const file = await cluster.backup((await readBody(request)).text("Key"));
        response.stream(200, CONTENT_TYPE, { "content-length": String(file.length) }).end(file);
      },
    },
    {
      method: "POST",
      path: "/swarm/restore",
      handler: async (request, response) => {
        response.json(200, await cluster.restore(await restoreRequest(request)));
      },
    },
    {
      method: "POST",
      path: "/swarm/reconnect",
      handler: async (request, response) => {
        cluster.reconnect((await readBody(request)).text("RemoteAddr"));
        response.empty(200);
      },
    },
  ];
}

async function restoreRequest(request: ApiRequest) {
  const { query } = request;
  const listenAddr = query.get("listenAddr") ?? "";
  if (listenAddr === "") {
    throw new EngineError("invalid-argument", 'invalid ListenAddr "": invalid empty address');
  }
  return {
    listenAddr,
    advertiseAddr: query.get("advertiseAddr") ?? "",
    dataPathAddr: query.get("dataPathAddr") ?? "",
    availability: availabilityOf(query.get("availability") ?? ""),
    // In a header: lines with addresses are logged on the way, those with headers are not.
    key: request.header("x-backup-key") ?? "",
    backup: await readFile(request.body),
  };
}

async function readFile(body: Readable): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += (chunk as Buffer).length;
    if (bytes > BACKUP_MAX_BYTES) {
      throw new EngineError("invalid-argument", "the backup is too large");
    }
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}
