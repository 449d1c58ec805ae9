/** Asks both engines the same, and sorts what differs by the rows of accepted.ts. */

import { ACCEPTED, type Accepted } from "./accepted.ts";
import { type Answer, send } from "./call.ts";
import { differences } from "./compare.ts";
import type { Pair, Side } from "./engines.ts";
import type { Request } from "./requests.ts";

/** What is known of an endpoint after all its requests. */
export interface Finding {
  requests: number;
  /** Our own words where we answer 501. */
  refusal: string | undefined;
  readonly explained: Set<Accepted>;
  /** "PATH: difference", which no row explains. */
  readonly unexplained: string[];
}

/** dockerd speaks no newer one. */
const VERSION = "/v1.41";

export async function askBoth(
  pair: Pair,
  requests: readonly Request[],
): Promise<ReadonlyMap<string, Finding>> {
  const findings = new Map<string, Finding>();
  for (const request of requests) {
    const finding = findings.get(request.endpoint) ?? {
      requests: 0,
      refusal: undefined,
      explained: new Set(),
      unexplained: [],
    };
    findings.set(request.endpoint, finding);
    finding.requests += 1;
    const ours = await askOne(pair.ours, request);
    if (ours.status === 501) finding.refusal = messageOf(ours);
    if (request.alone === true) continue;
    const theirs = await askOne(pair.theirs, request);
    const names = { ours: pair.ours.names(), theirs: pair.theirs.names() };
    for (const difference of differences(request.endpoint, ours, theirs, names)) {
      const row = ACCEPTED.find(({ pattern }) => pattern.test(`${request.endpoint} ${difference}`));
      if (row === undefined) finding.unexplained.push(`${request.path}: ${difference}`);
      else finding.explained.add(row);
    }
  }
  return findings;
}

async function askOne({ engine, saved }: Side, request: Request): Promise<Answer> {
  const { endpoint, path, save, alone: _, ...call } = request;
  const filled = path.replaceAll(/\{\{(\w+)\}\}/g, (_match, name: string) => {
    return saved.get(name) ?? `unknown-${name}`;
  });
  const method = endpoint.split(" ")[0] ?? "GET";
  const answer = await send(engine.socket, { ...call, method, path: VERSION + filled });
  if (save !== undefined) {
    const [name, pattern] = save;
    saved.set(name, new RegExp(pattern).exec(answer.body.toString())?.[1] ?? "");
  }
  return answer;
}

function messageOf(answer: Answer): string {
  return (JSON.parse(answer.body.toString()) as { readonly message: string }).message;
}
