/**
 * The flags of `service create` and `service update`: what each writes into the spec, and where the
 * kernel shows it, what the container has. Rows that go together make one command.
 */

export interface FlagRow {
  /** A flag and its value; a word alone for a flag that has none. */
  readonly words: readonly string[];
  /** Places in the service's spec, and what is there; `*` is any item of a list, whose order counts for nothing. */
  readonly spec: Readonly<Record<string, unknown>>;
  /** A question to a shell in the container, and the answer. */
  readonly seen?: readonly [command: string, answer: RegExp];
  /** Places in what `docker inspect` says of the container. */
  readonly made?: Readonly<Record<string, unknown>>;
}

export interface FlagGroup {
  readonly name: string;
  readonly rows: readonly FlagRow[];
  /** After the image. */
  readonly args?: readonly string[];
}

const CONTAINER = "TaskTemplate.ContainerSpec";
const SECOND_NS = 1_000_000_000;

const row = (words: readonly string[], spec: FlagRow["spec"], seen?: FlagRow["seen"]): FlagRow => ({
  words,
  spec,
  ...(seen === undefined ? {} : { seen }),
});

/** `--NAME VALUE` for a place in the spec. */
const sets = (words: string, place: string, value: unknown, seen?: FlagRow["seen"]): FlagRow =>
  row(words.split(" "), { [place]: value }, seen);

const container = (words: string, name: string, value: unknown, seen?: FlagRow["seen"]) =>
  sets(words, `${CONTAINER}.${name}`, value, seen);

const limits = (words: string, name: string, value: number, made: string) => ({
  ...sets(words, `TaskTemplate.Resources.${name}`, value),
  made: { [`HostConfig.${made}`]: value },
});

const SLEEP = ["trap 'exit 0' TERM INT; while :; do sleep 1; done"];

/** One service with everything that goes together and can be seen on this machine. */
export function createAll(envFile: string, folder: string): FlagGroup {
  return {
    name: "all",
    args: SLEEP,
    rows: [
      container(
        "--cap-add NET_ADMIN",
        "CapabilityAdd",
        ["CAP_NET_ADMIN"],
        [
          // CAP_NET_ADMIN is bit 12, CAP_MKNOD bit 27.
          "echo $((0x$(grep CapBnd /proc/1/status | cut -f2) >> 12 & 1))",
          /^1$/,
        ],
      ),
      container(
        "--cap-drop MKNOD",
        "CapabilityDrop",
        ["CAP_MKNOD"],
        ["echo $((0x$(grep CapBnd /proc/1/status | cut -f2) >> 27 & 1))", /^0$/],
      ),
      row(
        ["--config", "source=flags-config,target=/cfg,uid=1000,gid=100,mode=0440"],
        {
          [`${CONTAINER}.Configs.*.ConfigName`]: "flags-config",
          [`${CONTAINER}.Configs.*.File`]: { Name: "/cfg", UID: "1000", GID: "100", Mode: 0o440 },
        },
        ["ls -ln /cfg | cut -c1-10; cat /cfg", /^-r--r-----\nconfig data$/],
      ),
      row(
        ["--secret", "source=flags-secret,target=pass,uid=1000,gid=100,mode=0400"],
        {
          [`${CONTAINER}.Secrets.*.SecretName`]: "flags-secret",
          [`${CONTAINER}.Secrets.*.File`]: { Name: "pass", UID: "1000", GID: "100", Mode: 0o400 },
        },
        ["cat /run/secrets/pass; grep -c '/run/secrets.*tmpfs' /proc/mounts", /^secret data[1-9]/],
      ),
      sets("--constraint node.role==manager", "TaskTemplate.Placement.Constraints", [
        "node.role==manager",
      ]),
      container("--container-label cl=1", "Labels", { cl: "1" }),
      sets("--label l=1", "Labels.l", "1"),
      container("--dns 192.0.2.53", "DNSConfig.Nameservers", ["192.0.2.53"]),
      container(
        "--dns-option ndots:3",
        "DNSConfig.Options",
        ["ndots:3"],
        ["cat /etc/resolv.conf", /options.*ndots:3/],
      ),
      container(
        "--dns-search example.test",
        "DNSConfig.Search",
        ["example.test"],
        ["cat /etc/resolv.conf", /search example\.test/],
      ),
      row(["--entrypoint", "sh -c"], { [`${CONTAINER}.Command`]: ["sh", "-c"] }, [
        "tr '\\0' ' ' </proc/1/cmdline",
        /sh -c/,
      ]),
      row(
        ["--env", "A=1", "--env-file", envFile],
        { [`${CONTAINER}.Env`]: ["FROM_FILE=yes", "A=1"] },
        ["echo $A $FROM_FILE", /^1 yes$/],
      ),
      container("--group users", "Groups", ["users"], ["grep Groups /proc/1/status", /\b100\b/]),
      container("--user ann", "User", "ann", ["grep ^Uid /proc/1/status", /\t1000\t/]),
      row(["--health-cmd", "test -e /data", "--health-interval", "7s"], {
        [`${CONTAINER}.Healthcheck.Test`]: ["CMD-SHELL", "test -e /data"],
        [`${CONTAINER}.Healthcheck.Interval`]: 7 * SECOND_NS,
      }),
      container("--health-retries 4", "Healthcheck.Retries", 4),
      container("--health-start-period 20s", "Healthcheck.StartPeriod", 20 * SECOND_NS),
      container("--health-start-interval 1s", "Healthcheck.StartInterval", SECOND_NS),
      container("--health-timeout 9s", "Healthcheck.Timeout", 9 * SECOND_NS),
      container(
        "--host db:192.0.2.9",
        "Hosts",
        ["192.0.2.9 db"],
        ["cat /etc/hosts", /^192\.0\.2\.9\s+db$/m],
      ),
      container("--hostname h-{{.Task.Slot}}", "Hostname", "h-{{.Task.Slot}}", [
        "cat /proc/sys/kernel/hostname",
        /^h-1$/,
      ]),
      container("--init", "Init", true, ["tr '\\0' ' ' </proc/1/cmdline", /init/]),
      container("--isolation default", "Isolation", "default"),
      limits("--limit-cpu 0.5", "Limits.NanoCPUs", 500_000_000, "NanoCpus"),
      limits("--limit-memory 64m", "Limits.MemoryBytes", 64 << 20, "Memory"),
      limits("--limit-pids 99", "Limits.Pids", 99, "PidsLimit"),
      sets("--reserve-cpu 0.1", "TaskTemplate.Resources.Reservations.NanoCPUs", 100_000_000),
      sets("--reserve-memory 16m", "TaskTemplate.Resources.Reservations.MemoryBytes", 16 << 20),
      row(["--log-driver", "json-file", "--log-opt", "max-size=1m"], {
        "TaskTemplate.LogDriver": { Name: "json-file", Options: { "max-size": "1m" } },
      }),
      row(
        ["--mount", "type=tmpfs,target=/scratch,tmpfs-size=1048576,tmpfs-mode=0700"],
        { [`${CONTAINER}.Mounts.*.TmpfsOptions`]: { SizeBytes: 1 << 20, Mode: 0o700 } },
        ["grep ' /scratch ' /proc/mounts", /tmpfs.*size=1024k.*mode=700/],
      ),
      row(
        ["--mount", "type=volume,source=flags-volume,target=/vol,readonly,volume-label=v=1"],
        {
          [`${CONTAINER}.Mounts.*.ReadOnly`]: true,
          [`${CONTAINER}.Mounts.*.VolumeOptions.Labels`]: { v: "1" },
        },
        ["touch /vol/x 2>&1", /Read-only/],
      ),
      row(
        ["--mount", `type=bind,source=${folder},target=/bound,bind-propagation=rprivate`],
        { [`${CONTAINER}.Mounts.*.BindOptions.Propagation`]: "rprivate" },
        ["grep -c ' /bound ' /proc/mounts", /^1$/],
      ),
      sets("--mode replicated", "Mode.Replicated.Replicas", 1),
      sets("--replicas 1", "Mode.Replicated.Replicas", 1),
      sets("--replicas-max-per-node 2", "TaskTemplate.Placement.MaxReplicas", 2),
      sets("--name all", "Name", "all"),
      row(
        ["--network", "name=flags-net,alias=other"],
        {
          "TaskTemplate.Networks.*.Aliases": ["other"],
        },
        ["nslookup other 127.0.0.11 2>&1", /Address.*10\./],
      ),
      sets("--endpoint-mode vip", "EndpointSpec.Mode", "vip"),
      container("--oom-score-adj 77", "OomScoreAdj", 77, ["cat /proc/1/oom_score_adj", /^77$/]),
      row(["--placement-pref", "spread=node.labels.rack"], {
        "TaskTemplate.Placement.Preferences": [
          { Spread: { SpreadDescriptor: "node.labels.rack" } },
        ],
      }),
      row(["--publish", "8080:80"], {
        "EndpointSpec.Ports.*": {
          Protocol: "tcp",
          TargetPort: 80,
          PublishedPort: 8080,
          PublishMode: "ingress",
        },
      }),
      row(["--publish", "published=8053,target=53,protocol=udp,mode=host"], {
        "EndpointSpec.Ports.*": {
          Protocol: "udp",
          TargetPort: 53,
          PublishedPort: 8053,
          PublishMode: "host",
        },
      }),
      container("--read-only", "ReadOnly", true, ["touch /x 2>&1", /Read-only/]),
      sets("--restart-condition on-failure", "TaskTemplate.RestartPolicy.Condition", "on-failure"),
      sets("--restart-delay 2s", "TaskTemplate.RestartPolicy.Delay", 2 * SECOND_NS),
      sets("--restart-max-attempts 3", "TaskTemplate.RestartPolicy.MaxAttempts", 3),
      sets("--restart-window 9s", "TaskTemplate.RestartPolicy.Window", 9 * SECOND_NS),
      ...pace("update", "UpdateConfig"),
      ...pace("rollback", "RollbackConfig"),
      container("--stop-grace-period 4s", "StopGracePeriod", 4 * SECOND_NS),
      container("--stop-signal SIGINT", "StopSignal", "SIGINT"),
      container(
        "--sysctl net.ipv4.ip_unprivileged_port_start=7",
        "Sysctls",
        {
          "net.ipv4.ip_unprivileged_port_start": "7",
        },
        ["cat /proc/sys/net/ipv4/ip_unprivileged_port_start", /^7$/],
      ),
      container("--tty", "TTY", true, ["ls -l /proc/1/fd/0", /pts|console/]),
      container(
        "--ulimit nofile=123:456",
        "Ulimits",
        [{ Name: "nofile", Soft: 123, Hard: 456 }],
        ["grep 'open files' /proc/1/limits", /123 +456/],
      ),
      container("--workdir /data", "Dir", "/data", ["ls -l /proc/1/cwd", /\/data$/]),
      ...rollout(1),
      row(["--with-registry-auth"], {}),
      row(["--no-resolve-image"], { [`${CONTAINER}.Image`]: "app:1" }),
      row(["--quiet"], {}),
      row(["--detach"], {}),
    ],
  };
}

/** Flags of our own command line, kept as labels. */
const OURS: Readonly<Record<string, readonly [label: string, value: string, changed: string]>> = {
  strategy: ["skep.update.strategy", "canary", "rolling"],
  canary: ["skep.update.canary", "2", "50%"],
  "canary-weight": ["skep.update.canary.weight", "10%", "20%"],
  analysis: ["skep.update.analysis", "1s", "2s"],
  promotion: ["skep.update.promotion", "manual", "auto"],
  keep: ["skep.update.keep", "1m", "2m"],
  "progress-deadline": ["skep.update.deadline", "5m", "6m"],
  "image-watch": ["skep.image.watch", "1h", "2h"],
  "image-versions": ["skep.image.versions", "1.x", "2.x"],
  "start-after": ["skep.start-after", "flags-first=healthy", "flags-first=completed"],
};

function rollout(which: 1 | 2): readonly FlagRow[] {
  return Object.entries(OURS).map(([flag, labels]) =>
    row([`--${flag}`, labels[which]], { [`Labels|${labels[0]}`]: labels[which] }),
  );
}

function pace(kind: "update" | "rollback", field: string): readonly FlagRow[] {
  return [
    sets(`--${kind}-parallelism 2`, `${field}.Parallelism`, 2),
    sets(`--${kind}-delay 1s`, `${field}.Delay`, SECOND_NS),
    sets(`--${kind}-monitor 2s`, `${field}.Monitor`, 2 * SECOND_NS),
    sets(`--${kind}-max-failure-ratio 0.25`, `${field}.MaxFailureRatio`, 0.25),
    sets(`--${kind}-failure-action continue`, `${field}.FailureAction`, "continue"),
    sets(`--${kind}-order start-first`, `${field}.Order`, "start-first"),
  ];
}

/** What does not go together with the rest. */
export const CREATE_OTHERS: readonly FlagGroup[] = [
  {
    name: "plain",
    rows: [
      row(["--no-healthcheck"], { [`${CONTAINER}.Healthcheck.Test`]: ["NONE"] }),
      sets("--endpoint-mode dnsrr", "EndpointSpec.Mode", "dnsrr"),
      row(["--network", "flags-net"], {}),
      row(["--generic-resource", "gpu=2"], {
        "TaskTemplate.Resources.Reservations.GenericResources": [
          { DiscreteResourceSpec: { Kind: "gpu", Value: 2 } },
        ],
      }),
      sets("--replicas 0", "Mode.Replicated.Replicas", 0),
    ],
  },
  {
    name: "credentials",
    rows: [
      row(["--credential-spec", "file://spec.json"], {
        [`${CONTAINER}.Privileges.CredentialSpec.File`]: "spec.json",
      }),
      sets("--replicas 0", "Mode.Replicated.Replicas", 0),
    ],
  },
  { name: "global", rows: [sets("--mode global", "Mode", { Global: {} }), blocked()] },
  { name: "global-job", rows: [sets("--mode global-job", "Mode", { GlobalJob: {} }), blocked()] },
  {
    name: "job",
    rows: [
      row(["--mode", "replicated-job", "--replicas", "4", "--max-concurrent", "2"], {
        Mode: { ReplicatedJob: { MaxConcurrent: 2, TotalCompletions: 4 } },
      }),
      blocked(),
    ],
  },
];

/** On no node: only the spec is of interest. */
function blocked(): FlagRow {
  return sets("--constraint node.labels.none==1", "TaskTemplate.Placement.Constraints", [
    "node.labels.none==1",
  ]);
}

/** Everything that the service `all` has, changed or added to. */
export const UPDATE_ADDS: readonly FlagRow[] = [
  row(["--args", `"${SLEEP[0]?.replace("sleep 1", "sleep 2")}" 'two words' end`], {
    [`${CONTAINER}.Args`]: [SLEEP[0]?.replace("sleep 1", "sleep 2"), "two words", "end"],
  }),
  container("--cap-add SYS_TIME", "CapabilityAdd", ["CAP_NET_ADMIN", "CAP_SYS_TIME"]),
  container(
    "--cap-drop CHOWN",
    "CapabilityDrop",
    ["CAP_CHOWN", "CAP_MKNOD"],
    ["echo $((0x$(grep CapBnd /proc/1/status | cut -f2) & 1))", /^0$/],
  ),
  row(
    ["--config-add", "flags-config-2"],
    {
      [`${CONTAINER}.Configs.*.ConfigName`]: "flags-config-2",
    },
    ["cat /flags-config-2", /^second config$/],
  ),
  row(
    ["--secret-add", "flags-secret-2"],
    {
      [`${CONTAINER}.Secrets.*.SecretName`]: "flags-secret-2",
    },
    ["cat /run/secrets/flags-secret-2", /^second secret$/],
  ),
  sets("--constraint-add node.labels.none!=1", "TaskTemplate.Placement.Constraints", [
    "node.labels.none!=1",
    "node.role==manager",
  ]),
  container("--container-label-add cl2=2", "Labels", { cl: "1", cl2: "2" }),
  row(["--label-add", "l2=2"], { "Labels.l": "1", "Labels.l2": "2" }),
  container("--dns-add 192.0.2.54", "DNSConfig.Nameservers", ["192.0.2.53", "192.0.2.54"]),
  container("--dns-option-add timeout:2", "DNSConfig.Options", ["ndots:3", "timeout:2"]),
  container("--dns-search-add b.test", "DNSConfig.Search", ["b.test", "example.test"]),
  row(["--entrypoint", "/bin/sh -c"], { [`${CONTAINER}.Command`]: ["/bin/sh", "-c"] }),
  container("--env-add A=2", "Env", ["A=2", "FROM_FILE=yes"], ["echo $A", /^2$/]),
  container("--group-add root", "Groups", ["root", "users"]),
  container("--host-add db2:192.0.2.10", "Hosts", ["192.0.2.10 db2", "192.0.2.9 db"]),
  container("--hostname j-{{.Task.Slot}}", "Hostname", "j-{{.Task.Slot}}"),
  container("--user root", "User", "root", ["grep ^Uid /proc/1/status", /\t0\t/]),
  container("--workdir /etc", "Dir", "/etc", ["ls -l /proc/1/cwd", /\/etc$/]),
  container("--init=false", "Init", false, ["tr '\\0' ' ' </proc/1/cmdline", /^\/bin\/sh -c/]),
  container("--tty=false", "TTY", undefined),
  container("--read-only=false", "ReadOnly", undefined, ["touch /x 2>&1", /^$/]),
  limits("--limit-cpu 0.7", "Limits.NanoCPUs", 700_000_000, "NanoCpus"),
  limits("--limit-memory 65m", "Limits.MemoryBytes", 65 << 20, "Memory"),
  limits("--limit-pids 98", "Limits.Pids", 98, "PidsLimit"),
  sets("--reserve-cpu 0.2", "TaskTemplate.Resources.Reservations.NanoCPUs", 200_000_000),
  sets("--reserve-memory 17m", "TaskTemplate.Resources.Reservations.MemoryBytes", 17 << 20),
  row(["--log-driver", "local", "--log-opt", "max-size=2m"], {
    "TaskTemplate.LogDriver": { Name: "local", Options: { "max-size": "2m" } },
  }),
  row(
    ["--mount-add", "type=tmpfs,target=/more"],
    {
      [`${CONTAINER}.Mounts.*.Target`]: "/more",
    },
    ["grep -c ' /more ' /proc/mounts", /^1$/],
  ),
  row(["--network-add", "flags-net-2"], {}, ["cat /proc/net/dev | grep -c eth", /^[34]$/]),
  row(["--placement-pref-add", "spread=node.labels.row"], {
    "TaskTemplate.Placement.Preferences.*": { Spread: { SpreadDescriptor: "node.labels.row" } },
  }),
  row(["--publish-add", "8081:81"], { "EndpointSpec.Ports.*.PublishedPort": 8081 }),
  container("--oom-score-adj 78", "OomScoreAdj", 78, ["cat /proc/1/oom_score_adj", /^78$/]),
  container("--isolation default", "Isolation", "default"),
  sets("--replicas 1", "Mode.Replicated.Replicas", 1),
  sets("--replicas-max-per-node 3", "TaskTemplate.Placement.MaxReplicas", 3),
  sets("--restart-condition any", "TaskTemplate.RestartPolicy.Condition", "any"),
  sets("--restart-delay 3s", "TaskTemplate.RestartPolicy.Delay", 3 * SECOND_NS),
  sets("--restart-max-attempts 4", "TaskTemplate.RestartPolicy.MaxAttempts", 4),
  sets("--restart-window 8s", "TaskTemplate.RestartPolicy.Window", 8 * SECOND_NS),
  container("--health-cmd true", "Healthcheck.Test", ["CMD-SHELL", "true"]),
  container("--health-interval 6s", "Healthcheck.Interval", 6 * SECOND_NS),
  container("--health-retries 5", "Healthcheck.Retries", 5),
  container("--health-start-period 21s", "Healthcheck.StartPeriod", 21 * SECOND_NS),
  // Docker's own command line takes this one, and does nothing with it when it updates.
  row(["--health-start-interval", "500ms"], {}),
  container("--health-timeout 8s", "Healthcheck.Timeout", 8 * SECOND_NS),
  container("--stop-grace-period 3s", "StopGracePeriod", 3 * SECOND_NS),
  container("--stop-signal SIGTERM", "StopSignal", "SIGTERM"),
  container("--sysctl-add net.ipv4.ip_forward=1", "Sysctls", {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.ip_unprivileged_port_start": "7",
  }),
  row(["--ulimit-add", "nproc=500"], {
    [`${CONTAINER}.Ulimits.*`]: { Name: "nproc", Soft: 500, Hard: 500 },
  }),
  sets("--update-parallelism 3", "UpdateConfig.Parallelism", 3),
  sets("--update-delay 0s", "UpdateConfig.Delay", undefined),
  sets("--update-monitor 1ms", "UpdateConfig.Monitor", 1_000_000),
  sets("--update-max-failure-ratio 0.5", "UpdateConfig.MaxFailureRatio", 0.5),
  sets("--update-failure-action rollback", "UpdateConfig.FailureAction", "rollback"),
  sets("--update-order stop-first", "UpdateConfig.Order", "stop-first"),
  sets("--rollback-parallelism 3", "RollbackConfig.Parallelism", 3),
  sets("--rollback-delay 0s", "RollbackConfig.Delay", undefined),
  sets("--rollback-monitor 1ms", "RollbackConfig.Monitor", 1_000_000),
  sets("--rollback-max-failure-ratio 0.5", "RollbackConfig.MaxFailureRatio", 0.5),
  sets("--rollback-failure-action pause", "RollbackConfig.FailureAction", "pause"),
  sets("--rollback-order stop-first", "RollbackConfig.Order", "stop-first"),
  ...rollout(2),
  row(["--image", "app:1"], { [`${CONTAINER}.Image`]: "app:1" }),
  row(["--no-resolve-image"], {}),
  row(["--with-registry-auth"], {}),
  sets("--force", "TaskTemplate.ForceUpdate", 1),
  row(["--quiet"], {}),
  row(["--detach"], {}),
];

/** What was added goes again, and of what there was before too. */
export const UPDATE_REMOVES: readonly FlagRow[] = [
  container("--cap-drop NET_ADMIN", "CapabilityAdd", ["CAP_SYS_TIME"]),
  row(
    ["--config-rm", "flags-config"],
    {
      [`${CONTAINER}.Configs.length`]: 1,
      [`${CONTAINER}.Configs.*.ConfigName`]: "flags-config-2",
    },
    ["ls /cfg 2>&1", /No such/],
  ),
  row(
    ["--secret-rm", "flags-secret"],
    {
      [`${CONTAINER}.Secrets.length`]: 1,
      [`${CONTAINER}.Secrets.*.SecretName`]: "flags-secret-2",
    },
    ["ls /run/secrets", /^flags-secret-2$/],
  ),
  sets("--constraint-rm node.labels.none!=1", "TaskTemplate.Placement.Constraints", [
    "node.role==manager",
  ]),
  container("--container-label-rm cl", "Labels", { cl2: "2" }),
  row(["--label-rm", "l"], { "Labels.l": undefined, "Labels.l2": "2" }),
  container("--dns-rm 192.0.2.53", "DNSConfig.Nameservers", ["192.0.2.54"]),
  container("--dns-option-rm ndots:3", "DNSConfig.Options", ["timeout:2"]),
  container("--dns-search-rm example.test", "DNSConfig.Search", ["b.test"]),
  container("--env-rm A", "Env", ["FROM_FILE=yes"], ["echo x$A", /^x$/]),
  container("--group-rm users", "Groups", ["root"]),
  container("--host-rm db:192.0.2.9", "Hosts", ["192.0.2.10 db2"]),
  row(["--mount-rm", "/vol"], { [`${CONTAINER}.Mounts.length`]: 3 }, [
    "grep -c ' /vol ' /proc/mounts",
    /^0$/,
  ]),
  row(["--network-rm", "flags-net-2"], { "TaskTemplate.Networks.length": 1 }),
  row(["--placement-pref-rm", "spread=node.labels.rack"], {
    "TaskTemplate.Placement.Preferences": [{ Spread: { SpreadDescriptor: "node.labels.row" } }],
  }),
  row(["--publish-rm", "80"], { "EndpointSpec.Ports.length": 2 }),
  container("--sysctl-rm net.ipv4.ip_forward", "Sysctls", {
    "net.ipv4.ip_unprivileged_port_start": "7",
  }),
  container("--ulimit-rm nofile", "Ulimits", [{ Name: "nproc", Soft: 500, Hard: 500 }]),
  row(["--no-healthcheck"], { [`${CONTAINER}.Healthcheck`]: { Test: ["NONE"] } }),
  row(["--detach"], {}),
];

/** Further updates of the services that others than `all` are. */
export const UPDATE_OTHERS: readonly FlagGroup[] = [
  {
    name: "plain",
    rows: [
      sets("--endpoint-mode vip", "EndpointSpec.Mode", "vip"),
      row(["--generic-resource-add", "ssd=1"], {
        "TaskTemplate.Resources.Reservations.GenericResources.*.DiscreteResourceSpec.Kind": "ssd",
      }),
    ],
  },
  {
    name: "plain",
    rows: [
      row(["--generic-resource-rm", "gpu"], {
        "TaskTemplate.Resources.Reservations.GenericResources": [
          { DiscreteResourceSpec: { Kind: "ssd", Value: 1 } },
        ],
      }),
    ],
  },
  {
    name: "credentials",
    rows: [
      row(["--credential-spec", "registry://spec"], {
        [`${CONTAINER}.Privileges.CredentialSpec.Registry`]: "spec",
      }),
    ],
  },
  {
    name: "job",
    rows: [
      // Docker's own command lines take this one and do nothing with it.
      sets("--max-concurrent 3", "Mode.ReplicatedJob.TotalCompletions", 4),
    ],
  },
];
