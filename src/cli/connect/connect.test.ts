import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ContextStore } from "../context/store.ts";
import { GLOBAL_FLAGS } from "../nouns.ts";
import { parseFlags } from "../pflag.ts";
import { currentContext, resolveEndpoint } from "./endpoint.ts";
import { sshArguments, sshTarget } from "./ssh.ts";

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "skep-connect-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

function globals(...words: string[]) {
  const parsed = parseFlags(GLOBAL_FLAGS, words, { interspersed: false });
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value.flags;
}

function configured(config: unknown) {
  mkdirSync(join(home, ".docker"), { recursive: true });
  writeFileSync(join(home, ".docker/config.json"), JSON.stringify(config));
}

test.each([
  [["-c", "flag"], { DOCKER_HOST: "unix:///d", DOCKER_CONTEXT: "variable" }, "flag"],
  [["-H", "unix:///h"], { DOCKER_CONTEXT: "variable" }, "default"],
  [[], { DOCKER_HOST: "unix:///d", DOCKER_CONTEXT: "variable" }, "default"],
  [[], { SKEP_HOST: "unix:///d", DOCKER_CONTEXT: "variable" }, "default"],
  [[], { DOCKER_HOST: "", DOCKER_CONTEXT: "variable" }, "variable"],
  [[], { DOCKER_CONTEXT: "" }, "configured"],
])("with %j and %j the context is %s", (words, env, name) => {
  configured({ currentContext: "configured" });
  expect(currentContext(globals(...words), { HOME: home, ...env })).toBe(name);
});

test("a host comes with the TLS that is asked for, a context with its own", async () => {
  const env = { HOME: home, DOCKER_CERT_PATH: home };
  writeFileSync(join(home, "ca.pem"), "authority");
  const of = (words: readonly string[], more = {}) =>
    resolveEndpoint(globals(...words), { ...env, ...more });
  const ca = Buffer.from("authority");
  expect(await of([])).toEqual({ host: "unix:///run/skep/skep.sock" });
  expect(await of(["-H", "tcp://h:1"])).toEqual({ host: "tcp://h:1" });
  expect(await of(["--tlsverify", "-H", "tcp://h:1"])).toEqual({
    host: "tcp://h:1",
    tls: { ca, skipVerify: false },
  });
  expect(await of(["--tls"], { DOCKER_HOST: "tcp://h:1" })).toMatchObject({
    tls: { skipVerify: true },
  });
  expect(await of(["--tls"])).toEqual({ host: "unix:///run/skep/skep.sock" });
  await new ContextStore(env).put(
    { Name: "far", Metadata: {}, Endpoints: { docker: { Host: "tcp://far:2376" } } },
    { docker: { "ca.pem": Buffer.from("its own") } },
  );
  expect(await of(["-c", "far"], { DOCKER_TLS_VERIFY: "1" })).toEqual({
    host: "tcp://far:2376",
    tls: { ca: Buffer.from("its own"), skipVerify: false },
  });
});

test("what cannot be resolved is refused in docker's words", async () => {
  const of = (...words: string[]) => resolveEndpoint(globals(...words), { HOME: home });
  await expect(of("-c", "gone")).rejects.toThrow(
    'Failed to initialize: unable to resolve docker endpoint: context "gone": context not found: open ',
  );
  await expect(of("-H", "unix:///a", "-H", "unix:///b")).rejects.toThrow("Specify only one -H");
  await expect(of("-c", "x", "-H", "unix:///b")).rejects.toThrow("conflicting options");
  mkdirSync(join(home, ".docker"));
  writeFileSync(join(home, ".docker/config.json"), "{bad");
  await expect(of()).rejects.toThrow("cannot read");
  expect(await of("-H", "unix:///b")).toEqual({ host: "unix:///b" });
});

test("an ssh address becomes the words of ssh", () => {
  const script = (dial: string) =>
    `sh -c 'if command -v skep >/dev/null; then exec skep${dial}; else exec docker${dial}; fi'`;
  expect(sshArguments(sshTarget("ssh://ann@far:2222"))).toEqual([
    ..."-o ConnectTimeout=30 -T -l ann -p 2222 -- far".split(" "),
    script(" system dial-stdio"),
  ]);
  const { socket } = sshTarget("ssh://far/run/it's.sock");
  expect(socket).toBe("/run/it's.sock");
  expect(sshArguments(sshTarget("ssh://far/x.sock")).at(-1)).toBe(
    `sh -c 'if command -v skep >/dev/null; then exec skep --host '\\''unix:///x.sock'\\'' system dial-stdio; else exec docker --host '\\''unix:///x.sock'\\'' system dial-stdio; fi'`,
  );
});

test.each([
  ["ssh://u:p@h", "plain-text password is not supported"],
  ["ssh://h?x=1", 'query parameters are not allowed: "x=1"'],
  ["ssh://h#f", 'fragments are not allowed: "f"'],
  ["ssh://", "hostname is empty"],
])("%s is refused", (address, why) => {
  expect(() => sshTarget(address)).toThrow(`invalid SSH URL: ${why}`);
});
