import { expect, test } from "vitest";
import type { CommandContext } from "../command.ts";
import { parseFlags } from "../pflag.ts";
import type { ServiceSpecJson } from "../swarm/types.ts";
import { withListChanges, withLists } from "./list-flags.ts";
import { createSpec, updateSpec } from "./spec.ts";
import { CREATE_FLAGS, UPDATE_FLAGS } from "./spec-flags.ts";

/** A command line whose engine gives every object the id "id-NAME". */
function context(specs: typeof CREATE_FLAGS, argv: readonly string[]): CommandContext {
  const parsed = parseFlags(specs, [...argv], { interspersed: false });
  if (!parsed.ok) throw new Error(parsed.error);
  const get = async (path: string) => ({ ID: `id-${path.split("/").at(-1) ?? ""}` });
  const { flags, args } = parsed.value;
  return { flags, args, env: {}, client: { get } } as unknown as CommandContext;
}

async function created(...argv: string[]): Promise<ServiceSpecJson> {
  const one = context(CREATE_FLAGS, [...argv, "web"]);
  return withLists(one, createSpec(one.flags, "web", []));
}

async function updated(spec: ServiceSpecJson, ...argv: string[]): Promise<ServiceSpecJson> {
  const one = context(UPDATE_FLAGS, argv);
  return withListChanges(one, updateSpec(spec, one.flags));
}

test("lists of a new service, in docker's form", async () => {
  const { TaskTemplate } = await created(
    "--secret=key",
    "--config=source=conf,target=/etc/conf,mode=0440,uid=7",
    "--ulimit=nofile=10:20",
    "--sysctl=net.core.somaxconn=9",
    "--group=wheel",
    "--dns-option=ndots:2",
    "--dns-search=example.org",
    "--generic-resource=gpu=2",
    "--generic-resource=fpga=f1",
  );
  expect(TaskTemplate.ContainerSpec).toMatchObject({
    Secrets: [
      {
        SecretID: "id-key",
        SecretName: "key",
        File: { Name: "key", UID: "0", GID: "0", Mode: 0o444 },
      },
    ],
    Configs: [
      {
        ConfigID: "id-conf",
        ConfigName: "conf",
        File: { Name: "/etc/conf", UID: "7", Mode: 0o440 },
      },
    ],
    Ulimits: [{ Name: "nofile", Soft: 10, Hard: 20 }],
    Sysctls: { "net.core.somaxconn": "9" },
    Groups: ["wheel"],
    DNSConfig: { Options: ["ndots:2"], Search: ["example.org"] },
  });
  expect(TaskTemplate["Resources"]).toMatchObject({
    Reservations: {
      GenericResources: [
        { DiscreteResourceSpec: { Kind: "gpu", Value: 2 } },
        { NamedResourceSpec: { Kind: "fpga", Value: "f1" } },
      ],
    },
  });
});

test("an update changes what it names, and nothing else", async () => {
  const before = await created(
    "--secret=a",
    "--secret=b",
    "--ulimit=nofile=10",
    "--ulimit=nproc=5",
    "--sysctl=x=1",
    "--network=front",
    "--host=db:10.0.0.1",
    "--cap-drop=CAP_CHOWN",
  );
  const { TaskTemplate } = await updated(
    before,
    "--secret-rm=a",
    "--secret-add=c",
    "--ulimit-add=nofile=99",
    "--sysctl-rm=x",
    "--sysctl-add=y=2",
    "--host-rm=db:10.0.0.1",
    "--host-add=db:10.0.0.2",
    "--cap-add=chown",
    "--network-add=name=back,alias=b",
    "--placement-pref-add=spread=node.labels.rack",
  );
  expect(TaskTemplate.ContainerSpec).toMatchObject({
    Secrets: [{ SecretName: "b" }, { SecretName: "c" }],
    Ulimits: [{ Name: "nproc" }, { Name: "nofile", Soft: 99 }],
    Sysctls: { y: "2" },
    Hosts: ["10.0.0.2 db"],
    CapabilityAdd: ["CAP_CHOWN"],
    CapabilityDrop: [],
  });
  expect(TaskTemplate["Networks"]).toEqual([
    { Target: "id-front" },
    { Target: "id-back", Aliases: ["b"], DriverOpts: {} },
  ]);
  expect(TaskTemplate.Placement).toMatchObject({
    Preferences: [{ Spread: { SpreadDescriptor: "node.labels.rack" } }],
  });
  expect(await updated(before)).toEqual(await updated(before));
});

test.each([
  ["--secret=source=", "invalid secret: source is required"],
  ["--generic-resource=gpu", "invalid generic-resource format `gpu`"],
  [
    "--credential-spec=x",
    "invalid credential spec: value must be prefixed with 'config://', 'file://', or 'registry://'",
  ],
])("%s is refused", async (flag, message) => {
  await expect(created(flag)).rejects.toThrow(message);
});

test("jobs keep how many run at once", async () => {
  const job = await created("--mode=replicated-job", "--replicas=6", "--max-concurrent=2");
  expect(job.Mode).toEqual({ ReplicatedJob: { MaxConcurrent: 2, TotalCompletions: 6 } });
  expect((await updated(job, "--max-concurrent=3")).Mode).toEqual({
    ReplicatedJob: { MaxConcurrent: 3, TotalCompletions: 6 },
  });
});
