/** TLS of RPC: what the server speaks, who the peer is, and for how long. */

import type { X509Certificate } from "node:crypto";
import type { PeerCertificate, TLSSocket } from "node:tls";
import { EngineError } from "#base/error.ts";
import { ECDSA_SUITES } from "../tls-suites.ts";
import { TAKEN_FOR_SELF_SIGNED, verifyCrossSigned } from "../x509/cross-signed.ts";
import type { PeerIdentity, TlsMaterial } from "./server.ts";

export function tlsOptions(tls: TlsMaterial) {
  const { cert, key, ca } = tls;
  return { cert, key, ca, minVersion: "TLSv1.2" as const, ciphers: ECDSA_SUITES };
}

/** Timers hold at most 2^31 ms. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/**
 * Calls back when the peer's certificate ends: what it proved, it proves no longer. Its owner has had
 * half of the certificate's life to get another. The result undoes the waiting.
 */
export function atExpiry(socket: TLSSocket, expired: () => void): () => void {
  if (!socket.authorized) return () => undefined;
  const endMs = Date.parse(socket.getPeerCertificate().valid_to);
  if (Number.isNaN(endMs)) return () => undefined;
  let timer: NodeJS.Timeout;
  const wait = () => {
    const leftMs = endMs - Date.now();
    if (leftMs <= 0) return expired();
    timer = setTimeout(wait, Math.min(leftMs, TIMER_MAX_MS)).unref();
  };
  wait();
  return () => clearTimeout(timer);
}

/** Absent when the caller showed no certificate, or one that our CA did not issue. */
export function peerOf(socket: TLSSocket): PeerIdentity | undefined {
  if (!socket.authorized) return undefined;
  // Null for a socket that is over, and without a subject where that is empty, whatever the types say.
  const certificate = socket.getPeerCertificate() as Partial<PeerCertificate> | null;
  const subject = certificate?.subject;
  if (subject === undefined) return undefined;
  const since = Math.floor(Date.parse(certificate?.valid_from ?? "") / 1000);
  const identity = { nodeId: one(subject.CN), role: one(subject.OU), clusterId: one(subject.O) };
  return Number.isNaN(since) ? identity : { ...identity, since };
}

/** A subject attribute; where a certificate repeats one, the first (Node types it as a string). */
function one(value: string | readonly string[] | undefined): string {
  if (value === undefined) return "";
  return typeof value === "string" ? value : (value[0] ?? "");
}

/** Certificates that one side shows; more than any of our checks takes. */
const SHOWN_MAX = 10;

/**
 * Throws unless the server is to be believed: by OpenSSL, or because it shows what a Docker Engine's
 * manager shows during a rotation of the root. Nothing may have been written to the socket before.
 */
export function assertCrossSigned(socket: TLSSocket, roots: string, serverName: string): void {
  if (socket.authorized) return;
  // A code, whatever the types say.
  const verdict = String(socket.authorizationError);
  if (verdict !== TAKEN_FOR_SELF_SIGNED) {
    throw new EngineError("unauthenticated", `the server's certificate: ${verdict}`);
  }
  // What Node calls the issuer's is the next one that the server sent; there is no look-up.
  const shown: X509Certificate[] = [];
  let next = socket.getPeerX509Certificate();
  while (next !== undefined && shown.length < SHOWN_MAX) {
    shown.push(next);
    next = next.issuerCertificate;
  }
  verifyCrossSigned(shown, roots, serverName, Date.now());
}
