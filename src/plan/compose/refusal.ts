/**
 * How a Compose file is refused. Inside this folder a refusal travels as an exception, because it can
 * come out of any depth of a document; `load.ts` and `plan.ts` turn it into a value at their edge.
 */

import { err, ok, type Result } from "#base/result.ts";

/** A place in a document: keys from the root, list positions as numbers in text. */
export type Path = readonly string[];

export interface ComposeError {
  /** The file's name as it was given; undefined when the fault is in no single file. */
  readonly file?: string;
  /** From 1. */
  readonly line?: number;
  /** docker's words where docker refuses the same. */
  readonly message: string;
}

export class Refusal extends Error {
  readonly path: Path | undefined;

  constructor(message: string, path?: Path) {
    super(message);
    this.path = path;
  }
}

/** Finds the line of a path, or of the nearest thing around it that has one. */
export type Locate = (path: Path) => Pick<ComposeError, "file" | "line">;

export function catchRefusal<T>(locate: Locate, run: () => T): Result<T, ComposeError> {
  try {
    return ok(run());
  } catch (thrown) {
    if (!(thrown instanceof Refusal)) throw thrown;
    const place = thrown.path === undefined ? {} : locate(thrown.path);
    return err({ ...place, message: thrown.message });
  }
}

/** "compose.yml:7: services.web.image must be a string". */
export function describeError({ file, line, message }: ComposeError): string {
  if (file === undefined) return message;
  return line === undefined ? `${file}: ${message}` : `${file}:${line}: ${message}`;
}
