/**
 * What a registry refused, in its own vocabulary (`code` and `message` of the distribution API),
 * and the sentences that docker makes of it.
 */

import { EngineError, type ErrorCode } from "#base/error.ts";
import { type HttpResponse, readBody } from "./http.ts";

export type RegistryReason =
  | "manifest-unknown"
  | "name-unknown"
  | "blob-unknown"
  | "denied"
  | "unauthorized"
  | "too-many-requests"
  | "unavailable"
  | "other";

export class RegistryError extends EngineError {
  readonly reason: RegistryReason;

  constructor(reason: RegistryReason, message: string) {
    super(CODE_OF_REASON[reason], message, {
      retryable: reason === "too-many-requests" || reason === "unavailable",
    });
    this.reason = reason;
  }
}

const CODE_OF_REASON: Readonly<Record<RegistryReason, ErrorCode>> = {
  "manifest-unknown": "not-found",
  "name-unknown": "not-found",
  "blob-unknown": "not-found",
  denied: "permission-denied",
  unauthorized: "unauthenticated",
  "too-many-requests": "resource-exhausted",
  unavailable: "unavailable",
  other: "unknown",
};

const REASON_OF_CODE: Readonly<Record<string, RegistryReason>> = {
  MANIFEST_UNKNOWN: "manifest-unknown",
  NAME_UNKNOWN: "name-unknown",
  BLOB_UNKNOWN: "blob-unknown",
  DENIED: "denied",
  UNAUTHORIZED: "unauthorized",
  TOOMANYREQUESTS: "too-many-requests",
  UNAVAILABLE: "unavailable",
};

const ERROR_BODY_MAX_BYTES = 64 * 1024;

/** Reads the body of a refusal; `otherwise` is what a 404 without a code means. */
export async function readRefusal(
  response: HttpResponse,
  otherwise: RegistryReason,
): Promise<RegistryError> {
  const text = await readBody(response.body, ERROR_BODY_MAX_BYTES).then(
    (body) => body.toString("utf8"),
    () => "",
  );
  const { code, message } = firstError(text);
  const reason = REASON_OF_CODE[code] ?? reasonOfStatus(response.status, otherwise);
  if (code !== "") {
    const words = code.toLowerCase().replaceAll("_", " ");
    return new RegistryError(reason, message === "" ? words : `${words}: ${message}`);
  }
  return new RegistryError(
    reason,
    `received unexpected HTTP status ${response.status} from ${response.url}`,
  );
}

function firstError(body: string): { code: string; message: string } {
  try {
    const parsed = JSON.parse(body) as {
      errors?: readonly { code?: unknown; message?: unknown }[];
    };
    const first = parsed.errors?.[0];
    const text = (value: unknown) => (typeof value === "string" ? value.slice(0, 500) : "");
    return { code: text(first?.code), message: text(first?.message) };
  } catch {
    return { code: "", message: "" };
  }
}

function reasonOfStatus(status: number, otherwise: RegistryReason): RegistryReason {
  if (status === 401) return "unauthorized";
  if (status === 403) return "denied";
  if (status === 404) return otherwise;
  if (status === 429) return "too-many-requests";
  return status >= 500 ? "unavailable" : "other";
}

/** docker's sentence for a pull of `name` ("busybox", "busybox:1.36") that failed. */
export function pullError(error: unknown, repository: string, reference: string): EngineError {
  if (!(error instanceof RegistryError)) return EngineError.from(error);
  const message = pullSentence(error, repository, reference);
  return message === undefined ? error : new EngineError("not-found", message, { cause: error });
}

function pullSentence(
  error: RegistryError,
  repository: string,
  reference: string,
): string | undefined {
  const { reason, message } = error;
  if (reason === "denied") {
    return `pull access denied for ${repository}, repository does not exist or may require 'docker login': ${message}`;
  }
  if (reason === "manifest-unknown") return `manifest for ${reference} not found: ${message}`;
  if (reason === "name-unknown") return `repository ${repository} not found: ${message}`;
  return undefined;
}
