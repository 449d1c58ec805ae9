/**
 * The certificate authorities outside the cluster that its settings name, asked over CFSSL's JSON
 * API: whether one is there, and to sign the cluster's next root.
 */

import { request } from "node:https";
import { connect } from "node:tls";
import { EngineError, messageOf } from "#base/error.ts";
import type { TlsMaterial } from "#platform/grpc/server.ts";
import { readCertificate } from "#platform/x509/certificate.ts";
import { type Authority, createRequest, readPrivateKey } from "#platform/x509/issue.ts";
import type { ExternalAuthorities } from "./root-ca.ts";

const TIMEOUT_MS = 5_000;
const ANSWER_MAX_BYTES = 256 * 1024;
const HTTPS_PORT = 443;
/** The profile that an authority must have for signing roots. */
const CROSS_SIGN_PROFILE = "CA";

/** `tls` is read for each request, because certificates are renewed. */
export function createExternalAuthorities(tls: () => TlsMaterial): ExternalAuthorities {
  return {
    reachable: (url, root) => answers(url, { ...tls(), ca: root }),
    crossSign: async (urls, next) => {
      const body = await signRequest(next);
      let last = new EngineError(
        "invalid-argument",
        "must provide an external CA for the current external root CA to generate a cross-signed certificate",
      );
      for (const url of urls) {
        try {
          return certificateIn(await post(url, body, tls()));
        } catch (error) {
          last = EngineError.from(error, "unavailable");
        }
      }
      throw last;
    },
  };
}

/** Whether a TLS handshake succeeds; a wrong root, a plain server and silence are all "no". */
function answers(url: string, tls: TlsMaterial): Promise<boolean> {
  const target = parsedUrl(url);
  if (target?.protocol !== "https:") return Promise.resolve(false);
  const host = target.hostname.replace(/^\[(.*)\]$/, "$1");
  const port = target.port === "" ? HTTPS_PORT : Number(target.port);
  return new Promise((resolve) => {
    const socket = connect({ host, port, ...tls, timeout: TIMEOUT_MS });
    const done = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("secureConnect", () => done(true));
    socket.once("timeout", () => done(false));
    socket.on("error", () => done(false));
  });
}

async function signRequest({ cert, key }: Authority): Promise<string> {
  const { commonName } = readCertificate(cert);
  return JSON.stringify({
    certificate_request: await createRequest(readPrivateKey(key), commonName),
    subject: { CN: commonName },
    profile: CROSS_SIGN_PROFILE,
  });
}

function post(url: string, body: string, tls: TlsMaterial): Promise<string> {
  const headers = {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
  };
  return new Promise((resolve, reject) => {
    const options = { method: "POST", headers, ...tls, timeout: TIMEOUT_MS, agent: false };
    const call = request(url, options, (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on("data", (chunk: Buffer) => {
        size += chunk.length;
        if (size > ANSWER_MAX_BYTES) call.destroy(new Error("the answer is too large"));
        else chunks.push(chunk);
      });
      response.on("error", reject);
      response.on("end", () => {
        if (response.statusCode === 200) resolve(Buffer.concat(chunks).toString("utf8"));
        else reject(new Error(`unexpected status code ${response.statusCode}`));
      });
    });
    call.on("timeout", () => call.destroy(new Error("no answer in time")));
    call.on("error", reject);
    call.end(body);
  });
}

function certificateIn(answer: string): string {
  let parsed: unknown;
  try {
    parsed = JSON.parse(answer);
  } catch (error) {
    throw new EngineError("unavailable", `unable to parse JSON response: ${messageOf(error)}`);
  }
  const { success, result } = parsed as {
    success?: unknown;
    result?: { certificate?: unknown } | null;
  };
  const certificate = result?.certificate;
  if (success === true && typeof certificate === "string") return `${certificate.trim()}\n`;
  throw new EngineError("failed-precondition", "certificate signing request failed");
}

function parsedUrl(url: string): URL | undefined {
  return URL.canParse(url) ? new URL(url) : undefined;
}
