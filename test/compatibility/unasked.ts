/** Commands and flags of docker's that no line of the session has, and why. */

interface Unasked {
  readonly command: RegExp;
  /** Without dashes. */
  readonly flags: string;
  readonly why: string;
}

const NEWER = "newer than dockerd 20.10";
const WINDOWS = "of Windows";
const CRIU = "CRIU is not used";
const CLIENT = "the client's alone";
const NO_PLUGINS = "managed plugins are not run";
const CLUSTER = "cluster volumes are not supported";

const FLAGS: readonly Unasked[] = [
  { command: /^container (create|run)$/, flags: "annotation health-start-interval", why: NEWER },
  {
    command: /^container (create|run)$/,
    flags: "cpu-count cpu-percent io-maxbandwidth io-maxiops",
    why: WINDOWS,
  },
  {
    command: /^container (create|run)$/,
    flags: "use-api-socket",
    why: "the client's alone, and on trial: mount the socket",
  },
  { command: /^container (restart|stop)$/, flags: "signal", why: NEWER },
  { command: /^container start$/, flags: "checkpoint checkpoint-dir", why: CRIU },
  { command: /^image (history|import|inspect|load|push|rm|save)$/, flags: "platform", why: NEWER },
  { command: /^(image|builder) build$/, flags: "platform", why: NEWER },
  { command: /^(image|builder) build$/, flags: "security-opt", why: WINDOWS },
  { command: /^completion bash$/, flags: "no-descriptions", why: CLIENT },
  { command: /^context ls$/, flags: "format", why: CLIENT },
  { command: /^plugin push$/, flags: "disable-content-trust", why: NO_PLUGINS },
  { command: /^stack config$/, flags: "skip-interpolation", why: CLIENT },
  { command: /^image ls$/, flags: "tree", why: NEWER },
  { command: /^network connect$/, flags: "gw-priority", why: NEWER },
  { command: /^network create$/, flags: "ipv4", why: NEWER },
  {
    command: /^service (create|update)$/,
    flags: "health-start-interval oom-score-adj",
    why: NEWER,
  },
  {
    command: /^volume create$/,
    flags:
      "availability group limit-bytes required-bytes scope secret sharing topology-preferred topology-required type",
    why: CLUSTER,
  },
  { command: /^volume ls$/, flags: "cluster", why: CLUSTER },
  { command: /^volume prune$/, flags: "all", why: NEWER },
];

/** Of whole commands; what our own command line says to those that it refuses is told beside. */
const COMMANDS: readonly (readonly [RegExp, string])[] = [
  [/^completion /, CLIENT],
  [/^context /, "the client's alone: `test/cli/contexts`"],
  [/^(manifest|trust) /, "between the client and a registry"],
  [/^checkpoint /, CRIU],
  [/^plugin (create|install|upgrade)$/, NO_PLUGINS],
  [/^volume update$/, CLUSTER],
];

/** Why a flag is not asked; undefined when it should be. */
export function reasonOf(command: string, flag: string): string | undefined {
  return FLAGS.find((row) => row.command.test(command) && row.flags.split(" ").includes(flag))?.why;
}

export function commandReason(command: string): string | undefined {
  return COMMANDS.find(([pattern]) => pattern.test(command))?.[1];
}

/** Rows that explain none of these. */
export function unusedReasons(asked: ReadonlyMap<string, ReadonlySet<string>>): readonly string[] {
  const rows = FLAGS.flatMap(({ command, flags }) =>
    flags.split(" ").map((flag) => ({ command, flag })),
  );
  return rows
    .filter(({ command, flag }) =>
      [...asked].every(([path, flags]) => !(command.test(path) && flags.has(flag))),
    )
    .map(({ command, flag }) => `${command.source} --${flag}`);
}
