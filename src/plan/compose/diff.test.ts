/** What `stack deploy --dry-run` says of a service. */

import { describe, expect, it } from "vitest";
import { changes } from "./diff.ts";
import type { SparseServiceSpec } from "./stack.ts";

const PLANNED: SparseServiceSpec = {
  Name: "st_web",
  Labels: { "com.docker.stack.namespace": "st" },
  Mode: { Replicated: { Replicas: 2 } },
  TaskTemplate: {
    ContainerSpec: {
      Image: "web:1",
      Args: ["serve", "fast"],
      Env: ["A=1", "B=2"],
      Privileges: { NoNewPrivileges: false },
      Secrets: [{ SecretName: "st_s", File: { Name: "s", UID: "0", GID: "0", Mode: 0o444 } }],
    },
    Networks: [{ Target: "st_default", Aliases: ["web"] }],
    ForceUpdate: 0,
  },
  EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 8080 }] },
};

/** The same as the engine returns it. */
const STORED = {
  Name: "st_web",
  Labels: { "com.docker.stack.namespace": "st" },
  Mode: { Replicated: { Replicas: 2 } },
  TaskTemplate: {
    ContainerSpec: {
      Image: "web:1",
      Args: ["serve", "fast"],
      Env: ["B=2", "A=1"],
      Isolation: "default",
      DNSConfig: {},
      Privileges: { CredentialSpec: null, SELinuxContext: null, NoNewPrivileges: false },
      Secrets: [
        {
          SecretID: "x1",
          SecretName: "st_s",
          File: { Name: "s", UID: "0", GID: "0", Mode: 0o444 },
        },
      ],
    },
    Placement: { Platforms: [{ OS: "linux" }] },
    Networks: [{ Target: "net1", Aliases: ["web"] }],
    ForceUpdate: 3,
    Runtime: "container",
  },
  EndpointSpec: {
    Mode: "vip",
    Ports: [{ Protocol: "tcp", TargetPort: 80, PublishedPort: 8080, PublishMode: "ingress" }],
  },
};

const said = (before: unknown, after: SparseServiceSpec) =>
  changes(before, after, (id) => (id === "net1" ? "st_default" : id)).map(
    ({ field, before: old, after: next }) => `${field}: ${old ?? ""} -> ${next ?? ""}`,
  );

describe("a planned service against the stored one", () => {
  it("has no changes where only the engine's own additions differ", () => {
    expect(said(STORED, PLANNED)).toEqual([]);
  });

  it("tells fields, and items of lists one by one", () => {
    const container = PLANNED.TaskTemplate?.ContainerSpec;
    const changed: SparseServiceSpec = {
      ...PLANNED,
      Mode: { Replicated: { Replicas: 3 } },
      TaskTemplate: {
        ...PLANNED.TaskTemplate,
        ContainerSpec: {
          ...container,
          Image: "web:2",
          Args: ["fast", "serve"],
          Env: ["A=1", "B=3"],
        },
        Networks: [{ Target: "st_back", Aliases: ["web"] }],
      },
    };
    expect(said(STORED, changed).sort()).toEqual([
      "Mode.Replicated.Replicas: 2 -> 3",
      'TaskTemplate.ContainerSpec.Args: ["serve","fast"] -> ["fast","serve"]',
      "TaskTemplate.ContainerSpec.Env:  -> B=3",
      "TaskTemplate.ContainerSpec.Env: B=2 -> ",
      "TaskTemplate.ContainerSpec.Image: web:1 -> web:2",
      'TaskTemplate.Networks:  -> {"Aliases":["web"],"Target":"st_back"}',
      'TaskTemplate.Networks: {"Aliases":["web"],"Target":"st_default"} -> ',
    ]);
  });

  it("tells another mode, also one without fields", () => {
    expect(said(STORED, { ...PLANNED, Mode: { Global: {} } })).toEqual([
      "Mode.Replicated.Replicas: 2 -> ",
      "Mode:  -> Global",
    ]);
  });

  it("has no change where a job's counts are the engine's", () => {
    const stored = {
      ...STORED,
      Mode: { ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 1 } },
    };
    expect(said(stored, { ...PLANNED, Mode: { ReplicatedJob: {} } })).toEqual([]);
  });

  it("tells what is gone", () => {
    expect(said(STORED, { ...PLANNED, EndpointSpec: undefined })).toEqual([
      'EndpointSpec.Ports: {"PublishedPort":8080,"TargetPort":80} -> ',
    ]);
  });
});
