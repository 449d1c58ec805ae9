import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { GLOBAL_FLAGS } from "./nouns.ts";
import { type FlagSpec, parseFlags } from "./pflag.ts";
import { listingOptions, proxyVariables, pruneFilters, unlessGiven } from "./settings.ts";

const folder = mkdtempSync(join(tmpdir(), "skep-settings-"));
const env = { DOCKER_CONFIG: folder };
afterAll(() => rmSync(folder, { recursive: true }));

writeFileSync(
  join(folder, "config.json"),
  JSON.stringify({
    psFormat: "{{.Names}}",
    imagesFormat: 3,
    pruneFilters: ["label=keep", "label!=mine"],
    proxies: {
      default: { httpProxy: "http://p:1", noProxy: "a,b" },
      "unix:///s": { httpsProxy: "http://q:2", httpProxy: "" },
    },
  }),
);

const SPECS: readonly FlagSpec[] = [
  { name: "format", kind: "string", usage: "" },
  { name: "quiet", kind: "bool", usage: "" },
  { name: "filter", kind: "list", usage: "" },
];

function parsed(specs: readonly FlagSpec[], words: readonly string[]) {
  const found = parseFlags(specs, words, { interspersed: true });
  if (!found.ok) throw new Error(found.error);
  return found.value.flags;
}

test.each([
  [[], "psFormat", "{{.Names}}"],
  [["--quiet"], "psFormat", undefined],
  [["--format", "json"], "psFormat", "json"],
  [["--format", ""], "psFormat", "{{.Names}}"],
  [[], "imagesFormat", undefined],
  [[], "nodesFormat", undefined],
] as const)("a list with %j and the file's %s", (words, setting, format) => {
  const options = listingOptions({ env, flags: parsed(SPECS, words) }, setting);
  expect(options.format).toBe(format);
});

test("filters of the file go with those of a prune, but for what they contradict", () => {
  const filters = (...words: string[]) => pruneFilters({ env, flags: parsed(SPECS, words) });
  expect(filters()).toEqual(["label=keep", "label!=mine"]);
  expect(filters("--filter", "until=1h", "--filter", "label!=keep")).toEqual([
    "label!=mine",
    "until=1h",
    "label!=keep",
  ]);
});

test("proxies are the engine's own or the default's, under both spellings", async () => {
  const of = (...words: string[]) => proxyVariables({ env, globals: parsed(GLOBAL_FLAGS, words) });
  expect(await of("-H", "unix:///s")).toEqual(["HTTPS_PROXY=http://q:2", "https_proxy=http://q:2"]);
  expect(unlessGiven(await of("-H", "unix:///t"), ["NO_PROXY", "http_proxy=x"])).toEqual([
    "HTTP_PROXY=http://p:1",
    "no_proxy=a,b",
  ]);
});
