/** A steady load of short HTTP requests, each over a connection of its own, and what became of it. */

import { get } from "node:http";

export interface Load {
  /** Answers so far, by the hostname that they came from. */
  readonly by: ReadonlyMap<string, number>;
  /** Why requests have failed so far. */
  readonly failures: readonly string[];
  /** Ends the load; the requests that were answered, and why the others failed. */
  stop(): Promise<{ readonly answered: number; readonly failures: readonly string[] }>;
}

const TIMEOUT_MS = 5_000;

/** `clients` at once, each with a pause between two requests, over the addresses in turn. */
export function startLoad(addresses: readonly string[], clients = 8, pauseMs = 10): Load {
  const ending = new AbortController();
  let turn = 0;
  let answered = 0;
  const failures: string[] = [];
  const begunMs = performance.now();
  const by = new Map<string, number>();
  const client = async () => {
    while (!ending.signal.aborted) {
      const address = addresses[turn++ % addresses.length] ?? "";
      try {
        const hostname = (await ask(address)).get("hostname") ?? "";
        answered += 1;
        by.set(hostname, (by.get(hostname) ?? 0) + 1);
      } catch (error) {
        const seconds = ((performance.now() - begunMs) / 1000).toFixed(1);
        failures.push(`${address} after ${seconds} s: ${String(error)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  };
  const all = Promise.all(Array.from({ length: clients }, client));
  return {
    by,
    failures,
    stop: async () => {
      ending.abort();
      await all;
      return { answered, failures };
    },
  };
}

/** The demo's answer: "hostname", "address" and "caller", by name. */
export async function ask(address: string): Promise<ReadonlyMap<string, string>> {
  const text = await new Promise<string>((resolve, reject) => {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    // A lost packet and a slow server are different stories.
    let stage = "not connected";
    const sent = get(`http://${address}/`, { agent: false, signal }, (response) => {
      let body = "";
      response.on("data", (chunk) => (body += String(chunk)));
      response.on("error", reject);
      response.on("end", () => {
        if (response.statusCode === 200) resolve(body);
        else reject(new Error(`status ${response.statusCode}`));
      });
    });
    sent.on("socket", (socket) => socket.on("connect", () => (stage = "connected, no answer")));
    sent.on("error", (error) => reject(new Error(`${stage}: ${String(error)}`)));
  });
  return new Map(text.split("\n").map((line) => line.split(" ") as [string, string]));
}
