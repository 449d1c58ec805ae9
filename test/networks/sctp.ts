/** Servers and clients of SCTP in network namespaces; see `sctp-peer.ts`. */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { join } from "node:path";

const PEER = ["--import", "tsx", join(import.meta.dirname, "sctp-peer.ts")];

/** Answers "NAME ADDRESS", the client's address as it sees it, until it is killed. */
export async function sctpServer(
  netnsPath: string,
  family: 4 | 6,
  port: number,
  name: string,
): Promise<ChildProcess> {
  const words = [process.execPath, ...PEER, `server${family}`, String(port), name];
  const child = spawn("nsenter", [`--net=${netnsPath}`, ...words], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await new Promise<void>((resolve, reject) => {
    child.stdout.once("data", () => resolve());
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
  });
  return child;
}

/** What a server answers; "nothing" after two seconds. */
export function sctpAsk(netnsPath: string, address: string, port: number): string {
  const words = [process.execPath, ...PEER, "client", address, String(port)];
  return execFileSync("nsenter", [`--net=${netnsPath}`, ...words], { encoding: "utf8" });
}
