/** This engine beside dockerd 20.10; what is found is docs/compatibility.md. */

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ACCEPTED } from "./accepted.ts";
import { askBoth, type Finding } from "./ask-both.ts";
import { composeSession, HAS_COMPOSE } from "./compose-session.ts";
import {
  commandTable,
  endpointTable,
  forgotten,
  HEAD,
  lineTable,
  refusalTable,
  unaskedFlags,
} from "./document.ts";
import { openPair, type Pair } from "./engines.ts";
import { ownFlags } from "./own-flags.ts";
import { REQUESTS } from "./requests.ts";
import { runSessions, type SessionFindings } from "./sessions.ts";
import { unusedReasons } from "./unasked.ts";

const DOCUMENT = fileURLToPath(new URL("../../docs/compatibility.md", import.meta.url));

let pair: Pair | undefined;
let endpoints: ReadonlyMap<string, Finding> = new Map();
let session: SessionFindings | undefined;

beforeAll(async () => {
  const opened = await openPair();
  if (typeof opened === "string") throw new Error(opened);
  pair = opened;
  endpoints = await askBoth(pair, REQUESTS);
  session = await runSessions(pair);
}, 600_000);

afterAll(() => pair?.close());

test("no endpoint differs from dockerd's without a reason", () => {
  const unexplained = [...endpoints].flatMap(([endpoint, finding]) =>
    finding.unexplained.map((line) => `${endpoint} ${line}`),
  );
  expect(unexplained).toEqual([]);
});

test("every reason explains something", () => {
  const used = new Set([...endpoints.values()].flatMap(({ explained }) => [...explained]));
  expect(ACCEPTED.filter((row) => !used.has(row)).map(({ pattern }) => pattern.source)).toEqual([]);
  expect(session?.unused).toEqual([]);
});

test("a session on the command line goes on both engines alike", () => {
  expect(session?.unexplained).toEqual([]);
});

test.skipIf(!HAS_COMPOSE)(
  "docker-compose does the same on both engines",
  async () => {
    if (pair === undefined) throw new Error("there is no pair of engines");
    const { unexplained } = await composeSession(pair);
    expect(unexplained).toEqual([]);
  },
  300_000,
);

test("every command and flag is in the session, or it is told why not", () => {
  if (session === undefined) throw new Error("there was no session");
  expect(forgotten(session)).toEqual([]);
  expect(unusedReasons(unaskedFlags(session))).toEqual([]);
});

test("docs/compatibility.md says so", async () => {
  if (session === undefined) throw new Error("there was no session");
  const text = [
    HEAD,
    endpointTable(endpoints),
    refusalTable(endpoints),
    commandTable(session, await ownFlags()),
    lineTable(session),
  ].join("\n");
  if (process.env["SKEP_REWRITE"] === "1") writeFileSync(DOCUMENT, text);
  expect(readFileSync(DOCUMENT, "utf8")).toBe(text);
});
