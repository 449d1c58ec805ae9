import { expect, test } from "vitest";
import { ok } from "#base/result.ts";
import { resolveConfig } from "./config.ts";

function load(argv: readonly string[], file: Readonly<Record<string, unknown>> = {}) {
  return resolveConfig(argv, () => ok(file));
}

function loaded(argv: readonly string[], file: Readonly<Record<string, unknown>> = {}) {
  const result = load(argv, file);
  if (!result.ok) throw new Error(result.error);
  return result.value;
}

test("nothing given: every field has dockerd's default, moved under our own names", () => {
  const { config, warnings, action } = loaded([]);
  expect(config).toMatchObject({
    hosts: ["unix:///run/skep/skep.sock"],
    dataRoot: "/var/lib/skep",
    pidFile: "/run/skep/skep.pid",
    snapshotter: "overlayfs",
    logDriver: "json-file",
    shmSizeBytes: 64 * 1024 * 1024,
  });
  expect([warnings, action]).toEqual([[], "run"]);
});

test("the socket and the pid file follow --exec-root; -H may be given several times", () => {
  expect(loaded(["--exec-root", "/x"]).config).toMatchObject({
    hosts: ["unix:///x/skep.sock"],
    pidFile: "/x/skep.pid",
  });
  expect(loaded(["-H", "unix:///a", "-H=tcp://127.0.0.1:1"]).config.hosts).toEqual([
    "unix:///a",
    "tcp://127.0.0.1:1",
  ]);
});

test("daemon.json: lists, objects and pools read as their flags do", () => {
  const { config } = loaded([], {
    hosts: ["unix:///a"],
    labels: ["zone=a"],
    "log-opts": { "max-size": "1m" },
    "default-address-pools": [{ base: "10.10.0.0/16", size: 24 }],
    debug: true,
  });
  expect(config).toMatchObject({
    hosts: ["unix:///a"],
    labels: ["zone=a"],
    logOptions: { "max-size": "1m" },
    addressPools: [{ base: "10.10.0.0/16", size: 24 }],
    logLevel: "debug",
  });
});

test("harmless options without a meaning are accepted with a warning each", () => {
  expect(loaded(["--live-restore", "--iptables=false"]).warnings).toEqual([
    "--live-restore has no effect: it is always on: a restart of skep never stops a container",
    "--iptables has no effect: skep programs nftables itself, in a table of its own",
  ]);
});

test.each([
  [["--frobnicate"], {}, "unknown flag: --frobnicate"],
  [["now"], {}, '"skep engine" accepts no arguments, got now'],
  [
    [],
    { frobnicate: 1 },
    "unable to configure the daemon with file /etc/skep/daemon.json: the following directives don't match any configuration option: frobnicate",
  ],
  [
    ["--debug"],
    { debug: true },
    "unable to configure the daemon with file /etc/skep/daemon.json: the following directives are specified both as a flag and in the configuration file: debug: (from flag: true, from file: true)",
  ],
  [
    ["--label=a=1", "-H", "unix:///a"],
    { labels: ["b=2", "c=3"], hosts: ["unix:///b"] },
    "unable to configure the daemon with file /etc/skep/daemon.json: the following directives are specified both as a flag and in the configuration file: hosts: (from flag: [unix:///a], from file: [unix:///b]), labels: (from flag: [a=1], from file: [b=2 c=3])",
  ],
  [
    ["--userns-remap=default"],
    {},
    "--userns-remap is not supported: skep does not offer user namespaces yet, and will not pretend to",
  ],
  [["--log-level=loud"], {}, "invalid logging level: loud"],
  [["--label", "zone"], {}, "bad attribute format: zone"],
  [["--storage-driver=zfs"], {}, "storage driver zfs is not supported; use overlay2 or vfs"],
])("%j with %j is refused", (argv, file, message) => {
  expect(load(argv, file)).toEqual({ ok: false, error: message });
});

test("protection that is switched off anyway is not refused", () => {
  expect(load(["--icc=true", "--selinux-enabled=false"]).ok).toBe(true);
  expect(load(["--icc=false"]).ok).toBe(false);
});
