/**
 * Signing by a certificate authority outside the cluster, over CFSSL's JSON API with this manager's
 * certificate for identification. Where the cluster names such authorities, they sign and the
 * cluster's own key, if it has one, does not.
 */

import { request } from "node:https";
import { EngineError, messageOf } from "#base/error.ts";
import type { LeafProfile } from "#pki/profile.ts";
import type { TlsMaterial } from "#platform/grpc/server.ts";
import { normalizePem } from "#platform/x509/certificate.ts";
import type { Cluster } from "#wire/gen/swarmkit/objects_pb.js";
import { ExternalCA_CAProtocol } from "#wire/gen/swarmkit/types_pb.js";

const REQUEST_TIMEOUT_MS = 5_000;
const ANSWER_MAX_BYTES = 256 * 1024;

export interface ExternalCa {
  /**
   * The leaf, PEM; undefined when the cluster names no external CA. Rejects with `unavailable` when
   * none of them could be reached, and `failed-precondition` when one refused.
   */
  sign(
    cluster: Cluster,
    csr: string,
    profile: LeafProfile,
    signal: AbortSignal,
  ): Promise<string | undefined>;
}

/** `tls` is read for each request, because it is renewed. */
export function createExternalCa(tls: () => TlsMaterial): ExternalCa {
  return {
    sign: async (cluster, csr, profile, signal) => {
      const urls = urlsOf(cluster);
      let last: unknown;
      for (const url of urls) {
        try {
          return certificateIn(
            await post(url, signRequest(csr, profile), trusted(cluster, tls()), signal),
          );
        } catch (error) {
          last = error;
        }
      }
      if (last !== undefined) throw last;
      return undefined;
    },
  };
}

/** The authorities that stand for the root which signs now; without a root named, for the old one. */
export function urlsOf(cluster: Cluster): readonly string[] {
  const root = cluster.rootCa;
  if (root === undefined) return [];
  const wanted = normalizePem(textOf(root.rootRotation?.caCert ?? root.caCert));
  return (cluster.spec?.caConfig?.externalCas ?? [])
    .filter((external) => external.protocol === ExternalCA_CAProtocol.CFSSL)
    .filter((external) => {
      const named = external.caCert.length > 0 ? external.caCert : root.caCert;
      return normalizePem(textOf(named)) === wanted;
    })
    .map((external) => external.url);
}

function signRequest(csr: string, profile: LeafProfile): string {
  return JSON.stringify({
    certificate_request: csr,
    hosts: profile.dnsNames,
    subject: {
      CN: profile.commonName,
      names: [{ OU: profile.organizationalUnit, O: profile.organization }],
    },
  });
}

/** During a rotation the external CA may show a certificate of either root. */
function trusted(cluster: Cluster, tls: TlsMaterial): TlsMaterial {
  const next = cluster.rootCa?.rootRotation?.caCert;
  return next === undefined ? tls : { ...tls, ca: tls.ca + textOf(next) };
}

function post(url: string, body: string, tls: TlsMaterial, signal: AbortSignal): Promise<string> {
  const unreachable = (reason: string) =>
    new EngineError("unavailable", `unable to perform certificate signing request: ${reason}`);
  return new Promise((resolve, reject) => {
    const call = request(
      url,
      {
        method: "POST",
        headers: { "content-type": "application/json", "content-length": Buffer.byteLength(body) },
        ...tls,
        timeout: REQUEST_TIMEOUT_MS,
        signal,
        agent: false,
      },
      (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on("data", (chunk: Buffer) => {
          size += chunk.length;
          if (size > ANSWER_MAX_BYTES) call.destroy(new Error("the answer is too large"));
          else chunks.push(chunk);
        });
        response.on("error", (error) => reject(unreachable(messageOf(error))));
        response.on("end", () => {
          const text = Buffer.concat(chunks).toString("utf8");
          if (response.statusCode === 200) resolve(text);
          else reject(unreachable(`unexpected status code ${response.statusCode}`));
        });
      },
    );
    call.on("timeout", () => call.destroy(new Error("no answer in time")));
    call.on("error", (error) => reject(unreachable(messageOf(error))));
    call.end(body);
  });
}

function certificateIn(answer: string): string {
  let parsed: { success?: unknown; result?: { certificate?: unknown } | null; errors?: unknown };
  try {
    parsed = JSON.parse(answer) as typeof parsed;
  } catch (error) {
    throw new EngineError("unavailable", `unable to parse JSON response: ${messageOf(error)}`);
  }
  const certificate = parsed.result?.certificate;
  if (parsed.success === true && typeof certificate === "string") return `${certificate.trim()}\n`;
  throw new EngineError(
    "failed-precondition",
    `certificate signing request failed: ${JSON.stringify(parsed.errors ?? [])}`,
  );
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf8");
}
