import { expect, test } from "vitest";
import { capabilitiesOfMask, planCapabilities } from "./capabilities.ts";
import type { HostFacts } from "./host.ts";
import { chooseSeccomp } from "./seccomp.ts";
import { parseSeccompProfile, resolveSeccomp } from "./seccomp-profile.ts";
import { parseSecurityOptions, systemPaths } from "./security-options.ts";

const ALL = capabilitiesOfMask("1ffffffffff");
const HOST: HostFacts = {
  cpus: 2,
  cgroupVersion: 2,
  capabilities: ALL,
  hostname: "host",
  goArch: "amd64",
  kernelRelease: "6.1.0-13-amd64",
  seccomp: true,
  apparmor: false,
  initPath: undefined,
  cpuset: "0-1",
  memset: "0",
  blkioWeight: true,
};
const DEFAULT_CAPS = plan({});

function plan(more: Partial<Parameters<typeof planCapabilities>[0]>) {
  return planCapabilities({ privileged: false, add: [], drop: [], available: ALL, ...more });
}

function rules(call: string, host: Partial<HostFacts> = {}, capabilities = DEFAULT_CAPS) {
  const request = { option: undefined, fallback: "builtin", privileged: false, capabilities };
  const filter = chooseSeccomp(request, { ...HOST, ...host });
  return (filter?.syscalls ?? []).filter(({ names }) => names.includes(call));
}

test("what a mask and a request come to", () => {
  expect(ALL).toHaveLength(41);
  expect(capabilitiesOfMask("a80425fb")).toEqual(DEFAULT_CAPS);
  expect(plan({ drop: ["all"] })).toEqual([]);
  expect(plan({ drop: ["ALL"], add: ["net_admin", "CAP_CHOWN"] })).toEqual([
    "CAP_CHOWN",
    "CAP_NET_ADMIN",
  ]);
  expect(plan({ add: ["ALL"], drop: ["CHOWN"] })).toEqual(ALL.slice(1));
  expect(plan({ privileged: true })).toEqual(ALL);
  // An engine cannot give what it does not have.
  const available = ALL.filter((name) => name !== "CAP_SYS_TIME");
  expect(plan({ add: ["ALL"], available })).toEqual(available);
  expect(() => plan({ add: ["SYS_TIME"], available })).toThrow(/not available in the current/);
  expect(() => plan({ add: ["FOO"] })).toThrow('invalid CapAdd: unknown capability: "CAP_FOO"');
});

test("the default profile: an allow-list, with what a capability opens", () => {
  for (const call of ["keyctl", "add_key", "kexec_load", "userfaultfd", "io_uring_setup"]) {
    expect(rules(call, {}, ALL), call).toEqual([]);
  }
  for (const call of ["mount", "unshare", "setns", "reboot", "bpf", "init_module"]) {
    expect(rules(call), call).toEqual([]);
    expect(rules(call, {}, ALL).length, call).toBeGreaterThan(0);
  }
  expect(rules("read")).toHaveLength(1);
  expect(rules("clone")).toMatchObject([{ args: [{ index: 0, value: 0x7e020000 }] }]);
  expect(rules("clone", { goArch: "s390x" })).toMatchObject([{ args: [{ index: 1 }] }]);
  expect(rules("clone3")).toMatchObject([{ action: "SCMP_ACT_ERRNO", errnoRet: 38 }]);
  expect(rules("clone3", {}, ALL)).toMatchObject([{ action: "SCMP_ACT_ALLOW" }]);
  expect(rules("socket")).toMatchObject([{ args: [{ value: 40, op: "SCMP_CMP_NE" }] }]);
  expect(rules("personality")).toHaveLength(5);
  expect(rules("ptrace")).toHaveLength(1);
  expect(rules("ptrace", { kernelRelease: "4.7.9" })).toEqual([]);
  expect(rules("ptrace", { kernelRelease: "10.0" })).toHaveLength(1);
  expect(rules("arch_prctl")).toHaveLength(1);
  expect(rules("arch_prctl", { goArch: "arm64" })).toEqual([]);
});

test("architectures: the machine's own, and those whose programs it also runs", () => {
  const of = (arch: string) =>
    chooseSeccomp(
      { option: "builtin", fallback: "unconfined", privileged: false, capabilities: [] },
      {
        ...HOST,
        goArch: arch,
      },
    )?.architectures;
  expect(of("amd64")).toEqual(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
  expect(of("arm64")).toEqual(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]);
  expect(of("riscv64")).toEqual(["SCMP_ARCH_RISCV64"]);
});

test("who has no filter: unconfined, privileged, and kernels without one", () => {
  const choose = (
    option: string | undefined,
    privileged: boolean,
    host = HOST,
    fallback = "builtin",
  ) => chooseSeccomp({ option, privileged, capabilities: [], fallback }, host);
  expect(choose("unconfined", false)).toBeUndefined();
  expect(choose(undefined, true)).toBeUndefined();
  expect(choose("builtin", true)).toBeDefined();
  expect(choose(undefined, false, HOST, "unconfined")).toBeUndefined();
  expect(choose("builtin", false, HOST, "unconfined")).toBeDefined();
  const own = '{"defaultAction":"SCMP_ACT_LOG"}';
  expect(choose(undefined, false, HOST, own)?.defaultAction).toBe("SCMP_ACT_LOG");
  const bare = { ...HOST, seccomp: false };
  expect(choose(undefined, false, bare)).toBeUndefined();
  expect(() => choose("{}", false, bare)).toThrow("seccomp is not enabled in your kernel");
});

test("a user's profile: old and new form, contradictions refused", () => {
  const subject = { arch: "amd64", kernelRelease: "6.1", capabilities: ["CAP_A"] };
  const profile = parseSeccompProfile(
    JSON.stringify({
      defaultAction: "SCMP_ACT_ALLOW",
      architectures: ["SCMP_ARCH_X86"],
      flags: ["SECCOMP_FILTER_FLAG_LOG"],
      syscalls: [
        { name: "mkdir", action: "SCMP_ACT_ERRNO", args: null },
        { names: ["a"], action: "SCMP_ACT_KILL", includes: { caps: ["CAP_A", "CAP_B"] } },
        { names: ["b"], action: "SCMP_ACT_KILL", excludes: { minKernel: "6.0" } },
        { names: ["c"], action: "SCMP_ACT_ERRNO", errnoRet: 0, includes: {}, excludes: {} },
      ],
    }),
  );
  expect(resolveSeccomp(profile, subject)).toEqual({
    defaultAction: "SCMP_ACT_ALLOW",
    architectures: ["SCMP_ARCH_X86"],
    flags: ["SECCOMP_FILTER_FLAG_LOG"],
    syscalls: [
      { names: ["mkdir"], action: "SCMP_ACT_ERRNO" },
      { names: ["c"], action: "SCMP_ACT_ERRNO", errnoRet: 0 },
    ],
  });
  expect(resolveSeccomp(parseSeccompProfile("{}"), subject)).toBeUndefined();
  expect(() => parseSeccompProfile("[]")).toThrow("Decoding seccomp profile failed");
  expect(() => parseSeccompProfile("builtin.json")).toThrow("Decoding seccomp profile failed");
  expect(() => parseSeccompProfile('{"syscalls":[{"name":"a","names":["b"]}]}')).toThrow(
    "both 'name' and 'names'",
  );
  expect(() =>
    parseSeccompProfile('{"architectures":["x"],"archMap":[{"architecture":"x"}]}'),
  ).toThrow("both 'architectures' and 'archMap'");
});

test("security options in both notations; unknown ones refused", () => {
  const parse = (...options: string[]) => parseSecurityOptions(options);
  expect(parse("no-new-privileges").noNewPrivileges).toBe(true);
  expect(parse("no-new-privileges:true").noNewPrivileges).toBe(true);
  expect(parse("no-new-privileges=false").noNewPrivileges).toBe(false);
  expect(parse().noNewPrivileges).toBeUndefined();
  expect(parse("seccomp:unconfined", "apparmor=p:q", "label=disable")).toMatchObject({
    seccomp: "unconfined",
    apparmor: "p:q",
  });
  expect(() => parse("foo")).toThrow('invalid --security-opt 1: "foo"');
  expect(() => parse("foo=bar")).toThrow('invalid --security-opt 2: "foo=bar"');
  expect(() => parse("no-new-privileges=x")).toThrow("invalid --security-opt 2");
  const masked = (hostConfig: object, option?: string) =>
    systemPaths(hostConfig, parse(...(option === undefined ? [] : [option]))).masked.length;
  expect(masked({})).toBeGreaterThan(5);
  expect(masked({}, "systempaths=unconfined")).toBe(0);
  expect(masked({ Privileged: true })).toBe(0);
  expect(masked({ Privileged: true, MaskedPaths: ["/proc/keys"] })).toBe(1);
});
