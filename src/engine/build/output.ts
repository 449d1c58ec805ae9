/**
 * What buildah writes, in the words that docker's clients expect of a build: one line in, the lines
 * to show out. What is only of interest to somebody who watches layers being copied is left out.
 */

/** Of containers/image while it copies, and the builder's own bookkeeping. */
const NOISE: readonly RegExp[] = [
  /^Trying to pull .*\.\.\.$/,
  /^Resolv(?:ing|ed) ".*" (?:using|as) /,
  /^Getting image source signatures$/,
  /^Copying (?:blob|config) /,
  /^Writing manifest to image destination$/,
  /^Storing signatures$/,
  /^(?:\[\d+\/\d+\] )?COMMIT\b/,
  /^WARNING: image platform .* does not match the expected platform/,
  /^time="[^"]*" level=(?:debug|info|warning) /,
  /^subprocess exited with status \d+$/,
  /^\[\d+\/\d+\] STEP \d+\/\d+: $/,
];

const CACHED = /^--> Using cache (?:sha256:)?([0-9a-f]{12})[0-9a-f]*$/;
const COMMITTED = /^--> (?:sha256:)?([0-9a-f]{11,12})[0-9a-f]*$/;
const STEP = /^(\[\d+\/\d+\] )?STEP (\d+)\/(\d+): (.*)$/s;

/** The text to show for a line without its end; undefined = nothing. */
export function shownLine(line: string): string | undefined {
  if (NOISE.some((pattern) => pattern.test(line))) return undefined;
  const step = STEP.exec(line);
  if (step !== null) return `${step[1] ?? ""}Step ${step[2]}/${step[3]} : ${step[4]}`;
  const cached = CACHED.exec(line);
  if (cached !== null) return ` ---> Using cache\n ---> ${cached[1]}`;
  const committed = COMMITTED.exec(line);
  if (committed !== null) return ` ---> ${committed[1]}`;
  return line;
}

export interface BuildFailure {
  readonly message: string;
  /** What a client exits with; 1 unless a command of the build said otherwise. */
  readonly code: number;
}

const FAILED_STEP =
  /(?:error )?building at STEP "(.*)": (?:error )?while running runtime: exit status (\d+)$/s;

const NO_TARGET = /^The target "(.*)" was not found in the provided Dockerfile$/;

/** The reason of a failed build from the end of what was written to standard error. */
export function failureOf(lines: readonly string[], exitCode: number | null): BuildFailure {
  const last = lines.findLast((line) => /^(?:Error: |error )/.test(line));
  if (last === undefined) {
    const said = lines.findLast((line) => line.trim() !== "" && shownLine(line) !== undefined);
    const ended = exitCode === null ? "the builder was ended" : `buildah exited with ${exitCode}`;
    return { message: said === undefined ? ended : `${ended}: ${said}`, code: 1 };
  }
  const text = last.replace(/^Error: /, "");
  const target = NO_TARGET.exec(text)?.[1];
  if (target !== undefined) {
    return { message: `target stage "${target}" could not be found`, code: 1 };
  }
  const step = FAILED_STEP.exec(text);
  if (step === null) return { message: text, code: 1 };
  const code = Number(step[2]);
  const command = runCommandOf(step[1] ?? "");
  return { message: `The command '${command}' returned a non-zero code: ${code}`, code };
}

/** "RUN make" as the process that it is: "/bin/sh -c make". */
function runCommandOf(step: string): string {
  const body = step.replace(/^RUN\s+/i, "").replace(/^(?:--\w[\w-]*(?:=\S+)?\s+)*/, "");
  try {
    const list: unknown = JSON.parse(body);
    if (Array.isArray(list)) return list.join(" ");
  } catch {
    // Not the form of a list: a shell's.
  }
  return `/bin/sh -c ${body}`;
}
