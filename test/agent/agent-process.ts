/** An agent in a process of its own, to be killed: argv = data directory, host directory, socket. */

import { startAgent } from "#agent/agent.ts";
import { createLog } from "#platform/log.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { createFileHost } from "./file-host.ts";
import { connectorTo } from "./manager.ts";

const [dataDir = "", hostDir = "", socket = ""] = process.argv.slice(2);
const host = await createFileHost(hostDir);
await startAgent({
  executor: host.executor,
  connector: connectorTo(socket, "n1"),
  clock: realClock,
  random: realRandom,
  log: createLog("error"),
  dataDir,
});
process.send?.("started");
setInterval(() => undefined, 60_000);
