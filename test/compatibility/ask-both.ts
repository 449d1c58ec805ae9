/** Asks both engines the same, and sorts what differs by the rows of accepted.ts. */

import { ACCEPTED, type Accepted } from "./accepted.ts";
import { type Answer, send } from "./call.ts";
import { differences, type Names, normalText } from "./compare.ts";
import type { Pair, Side } from "./engines.ts";
import type { Request } from "./requests.ts";

/** What is known of an endpoint after all its requests. */
export interface Finding {
  requests: number;
  /** Our own words where we answer 501. */
  refusal: string | undefined;
  readonly explained: Set<Accepted>;
  /** Refusals that say something else, or with another status. */
  readonly told: Told[];
  /** "PATH: difference", which no row explains. */
  readonly unexplained: string[];
}

/** What the two say to one request, each with its status. */
export interface Told {
  readonly kind: Accepted["kind"];
  readonly ours: string;
  readonly theirs: string;
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
      told: [],
      unexplained: [],
    };
    findings.set(request.endpoint, finding);
    finding.requests += 1;
    const ours = await askOne(pair.ours, request);
    if (ours.status === 501) finding.refusal = messageOf(ours);
    if (request.alone === true) continue;
    const theirs = await askOne(pair.theirs, request);
    const names = { ours: pair.ours.names(), theirs: pair.theirs.names() };
    const rows = new Set<Accepted>();
    for (const difference of differences(request.endpoint, ours, theirs, names)) {
      const row = ACCEPTED.find(
        ({ pattern, path }) =>
          pattern.test(`${request.endpoint} ${difference}`) && path?.test(request.path) !== false,
      );
      if (row === undefined) finding.unexplained.push(`${request.path}: ${difference}`);
      else rows.add(row);
    }
    for (const row of rows) finding.explained.add(row);
    const words = [...rows].filter(({ isRefusal }) => isRefusal);
    if (words.length > 0) {
      finding.told.push({
        kind: words.some(({ kind }) => kind === "ours") ? "ours" : "newer",
        ours: refusalOf(ours, names.ours),
        theirs: refusalOf(theirs, names.theirs),
      });
    }
  }
  return findings;
}

/** The status and the words, from wherever in an answer they are. */
function refusalOf(answer: Answer, names: Names): string {
  // One frame of a multiplexed stream has eight bytes before its text.
  const { body } = answer;
  const isFrame = body.length > 8 && body.readUIntBE(1, 3) === 0;
  const text = normalText((isFrame ? body.subarray(8) : body).toString(), names).trim();
  const found = /"(?:message|error|Error)":"((?:[^"\\]|\\.)*)"/.exec(text)?.[1];
  const words = found === undefined ? text : (JSON.parse(`"${found}"`) as string);
  return `${answer.status} ${words.replaceAll(/\s+/g, " ").trim()}`;
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
