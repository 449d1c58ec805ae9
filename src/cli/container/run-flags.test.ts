import { expect, test } from "vitest";
import { parseFlags } from "../pflag.ts";
import { parseMount } from "./mount-flag.ts";
import { CREATE_FLAGS, containerBody, parsePorts } from "./run-flags.ts";

function body(...argv: string[]) {
  const parsed = parseFlags(CREATE_FLAGS, argv, { interspersed: false });
  if (!parsed.ok) throw new Error(parsed.error);
  const [image = "", ...command] = parsed.value.args;
  return containerBody(parsed.value.flags, image, command, { HOME: "/root" });
}

test("run -it --rm -e -v -m: what docker would send", () => {
  expect(
    body(
      "-it",
      "--rm",
      "-e",
      "A=1",
      "-e",
      "HOME",
      "-e",
      "UNSET",
      "-v",
      "/a:/b:ro",
      "-m",
      "64m",
      "web",
      "sh",
    ),
  ).toMatchObject({
    Image: "web",
    Cmd: ["sh"],
    Tty: true,
    OpenStdin: true,
    Env: ["A=1", "HOME=/root"],
    HostConfig: { Binds: ["/a:/b:ro"], AutoRemove: true, Memory: 67108864, NetworkMode: "default" },
  });
});

test("--restart on-failure:3, --cpus, --ulimit, --health-cmd", () => {
  expect(
    body(
      "--restart=on-failure:3",
      "--cpus=1.5",
      "--ulimit",
      "nofile=10:20",
      "--health-cmd",
      "true",
      "x",
    ),
  ).toMatchObject({
    Healthcheck: { Test: ["CMD-SHELL", "true"] },
    HostConfig: {
      RestartPolicy: { Name: "on-failure", MaximumRetryCount: 3 },
      NanoCpus: 1_500_000_000,
      Ulimits: [{ Name: "nofile", Soft: 10, Hard: 20 }],
    },
  });
  expect(() => body("--restart=sometimes", "x")).toThrow("invalid restart policy 'sometimes'");
});

test.each([
  ["80", { "80/tcp": [{ HostIp: "", HostPort: "" }] }],
  ["8080:80", { "80/tcp": [{ HostIp: "", HostPort: "8080" }] }],
  ["127.0.0.1:8080:80/udp", { "80/udp": [{ HostIp: "127.0.0.1", HostPort: "8080" }] }],
  ["127.0.0.1::80", { "80/tcp": [{ HostIp: "127.0.0.1", HostPort: "" }] }],
  ["[::1]:8080:80", { "80/tcp": [{ HostIp: "::1", HostPort: "8080" }] }],
  [
    "8000-8001:80-81",
    {
      "80/tcp": [{ HostIp: "", HostPort: "8000" }],
      "81/tcp": [{ HostIp: "", HostPort: "8001" }],
    },
  ],
  ["8000-8010:80", { "80/tcp": [{ HostIp: "", HostPort: "8000-8010" }] }],
])("-p %s", (spec, bindings) => {
  expect(parsePorts([spec], []).bindings).toEqual(bindings);
});

test.each(["80:x", "70000", "8000-8003:80-81", "90-80"])("-p %s is refused", (spec) => {
  expect(() => parsePorts([spec], [])).toThrow(/invalid/);
});

test("--mount", () => {
  expect(parseMount("type=bind,src=/a,dst=/b,ro")).toEqual({
    Type: "bind",
    Source: "/a",
    Target: "/b",
    ReadOnly: true,
  });
  expect(
    parseMount(
      'src=v,target=/v,readonly=false,volume-nocopy,volume-label=a=1,volume-driver=local,"volume-opt=o=ro,soft",volume-opt=type=nfs',
    ),
  ).toEqual({
    Type: "volume",
    Source: "v",
    Target: "/v",
    ReadOnly: false,
    VolumeOptions: {
      NoCopy: true,
      Labels: { a: "1" },
      DriverConfig: { Name: "local", Options: { o: "ro,soft", type: "nfs" } },
    },
  });
  expect(parseMount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770").TmpfsOptions).toEqual({
    SizeBytes: 1 << 20,
    Mode: 0o1770,
  });
  expect(parseMount("type=bind,src=/a,dst=/b,bind-recursive=readonly").BindOptions).toEqual({
    ReadOnlyForceRecursive: true,
  });
});

test.each([
  ["type=bind,src=/a", "target is required"],
  ["type=bind,target=/x,foo=1", "unexpected key 'foo' in 'foo=1'"],
  ["type=bind,target=/x,foo", "invalid field 'foo' must be a key=value pair"],
  ["target=/x,bind-propagation=x", "cannot mix 'bind-*' options with mount type 'volume'"],
  ["target=/x,ro=maybe", "invalid value for readonly: maybe"],
])("--mount %s is refused: %s", (spec, reason) => {
  expect(() => parseMount(spec)).toThrow(reason);
});

test("--network: a name, fields of its own, flags for the first", () => {
  expect(body("--network", "front", "x")).toMatchObject({ HostConfig: { NetworkMode: "front" } });
  expect(body("--network", "front", "x").NetworkingConfig).toBeUndefined();
  expect(
    body(
      "--network=name=front,alias=a,alias=b,gw-priority=7",
      "--network=back",
      "--ip=10.0.0.9",
      "--ip6=fd00::9",
      "--link=db:database",
      "--mac-address=02:00:00:00:00:01",
      "x",
    ),
  ).toMatchObject({
    MacAddress: "02:00:00:00:00:01",
    HostConfig: { NetworkMode: "front", Links: ["db:database"] },
    NetworkingConfig: {
      EndpointsConfig: {
        front: {
          Aliases: ["a", "b"],
          GwPriority: 7,
          IPAMConfig: { IPv4Address: "10.0.0.9", IPv6Address: "fd00::9" },
          Links: ["db:database"],
          MacAddress: "02:00:00:00:00:01",
        },
        back: {},
      },
    },
  });
  expect(body("--net=back", "--net-alias=n", "x").NetworkingConfig).toEqual({
    EndpointsConfig: { back: { Aliases: ["n"] } },
  });
});

test.each([
  [
    ["--network=front", "--network=bridge"],
    "cannot attach both user-defined and non-user-defined network-modes",
  ],
  [["--network=front", "--network=front"], 'network "front" is specified multiple times'],
  [["--network=name=front,color=red"], "invalid field key color"],
  [
    ["--network=name=front,ip=10.0.0.1", "--ip=10.0.0.2"],
    "cannot specify both --ip and per-network IP",
  ],
])("%j is refused", (flags, message) => {
  expect(() => body(...flags, "x")).toThrow(message);
});
