/** Why a container or exec could not be started, in docker's words and with its exit codes. Pure. */

import { EngineError } from "#base/error.ts";

export interface StartError {
  readonly error: EngineError;
  readonly exitCode: number;
}

/** Docker's exit codes: 127 no such program, 126 not executable, 128 anything else. */
export function describeStartError(thrown: unknown, program: string): StartError {
  const original = EngineError.from(thrown, "internal");
  const text = original.message;
  const fromRuntime = /OCI runtime|failed to create shim|runc/.test(text);
  if (!fromRuntime) return { error: original, exitCode: 128 };
  const message = `failed to create task for container: ${text}`;
  const invalid = (exitCode: number, tail = "") => ({
    error: new EngineError("invalid-argument", message + tail, { cause: thrown }),
    exitCode,
  });
  const missing = ["executable file not found", "no such file or directory"];
  if (text.includes(program) && missing.some((words) => text.includes(words))) return invalid(127);
  if (text.includes("permission denied") || text.includes("is a directory")) return invalid(126);
  if (text.includes("not a directory")) {
    return invalid(
      127,
      ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type",
    );
  }
  return { error: new EngineError("unknown", message, { cause: thrown }), exitCode: 128 };
}
