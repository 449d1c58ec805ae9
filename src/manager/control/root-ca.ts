/**
 * What becomes of the cluster's root when its CA settings change: nothing, a new key for the same
 * root, or the beginning of a rotation (which the leader's CA loop then drives to its end).
 *
 * A rotation needs the new root signed by the old one, so somebody must hold the old key: the
 * cluster, or an external CA. Rotating from one external CA straight to another is refused.
 */

import { create } from "@bufbuild/protobuf";
import { EngineError, messageOf } from "#base/error.ts";
import type { Clock, Random } from "#base/ports.ts";
import { MIN_ROOT_LIFETIME_MS, rootValidity } from "#pki/profile.ts";
import {
  type CertificateFacts,
  isRoot,
  keyFits,
  normalizePem,
  readCertificate,
} from "#platform/x509/certificate.ts";
import {
  type Authority,
  assertSigns,
  createRoot,
  crossSign,
  readPrivateKey,
} from "#platform/x509/issue.ts";
import { splitCertificates } from "#platform/x509/pem.ts";
import {
  type CAConfig,
  type ExternalCA,
  ExternalCA_CAProtocol,
  type RootCA,
  RootRotationSchema,
} from "#wire/gen/swarmkit/types_pb.js";
import { invalid } from "./refusal.ts";

/** Certificate authorities outside the cluster, asked with this manager's certificate. */
export interface ExternalAuthorities {
  /** Whether a TLS server of that root (PEM) answers at the URL. */
  reachable(url: string, root: string): Promise<boolean>;
  /** The next root signed by the authority of the old one, PEM; the first URL that does it. */
  crossSign(urls: readonly string[], next: Authority): Promise<string>;
}

export interface RootAuthority {
  readonly clock: Clock;
  readonly random: Random;
  readonly external: ExternalAuthorities;
}

/** The root that the settings ask for. `force` is compared with the last one that was honoured. */
interface Wanted {
  readonly cert: string;
  /** Empty when an external CA holds it. */
  readonly key: string;
  readonly force: bigint;
}

export async function nextRootCa(
  authority: RootAuthority,
  root: RootCA,
  config: CAConfig,
): Promise<RootCA> {
  const given = text(config.signingCaCert);
  const wanted = {
    cert: normalizePem(given),
    key: text(config.signingCaKey),
    force: config.forceRotate,
  };
  if (wanted.key !== "" && given === "") {
    throw invalid("if a signing CA key is provided, the signing CA cert must also be provided");
  }
  const current = normalizePem(text(root.caCert));
  const bringsOwnKey = wanted.cert === current && wanted.key !== "";
  if (root.caKey.length === 0 && !bringsOwnKey) {
    await demandExternal(authority, config, current, { root: current, called: "current" });
  }
  if (given === "") return unspecified(authority, root, config, current);
  await checkWanted(authority, config, current, wanted);
  return adopt(authority, root, config, current, wanted);
}

/** No root is named: all stays, unless a new one is forced. */
async function unspecified(
  authority: RootAuthority,
  root: RootCA,
  config: CAConfig,
  current: string,
): Promise<RootCA> {
  if (root.lastForcedRotation !== config.forceRotate) {
    const made = await createRoot(rootValidity(authority.clock.nowMs()), authority.random);
    return rotation(authority, root, config, { ...made, force: config.forceRotate });
  }
  const next = root.rootRotation;
  if (next !== undefined && next.caKey.length === 0) {
    const pem = normalizePem(text(next.caCert));
    await demandExternal(authority, config, current, { root: pem, called: "next" });
  }
  return root;
}

async function checkWanted(
  authority: RootAuthority,
  config: CAConfig,
  current: string,
  wanted: Wanted,
): Promise<void> {
  const count = splitCertificates(wanted.cert).length;
  if (count > 1) {
    throw invalid("the desired CA certificate cannot contain multiple certificates");
  }
  const facts = parsed(wanted.cert);
  // Nodes would refuse it when it takes over, and by then no other root would be left.
  if (!isRoot(wanted.cert)) {
    throw invalid(
      "the desired CA certificate is not that of a certificate authority signed by itself",
    );
  }
  if (wanted.key !== "") {
    const key = readPrivateKey(wanted.key);
    if (!keyFits(wanted.cert, key)) throw invalid("certificate key mismatch");
    assertSigns(key);
  }
  if (facts.notBeforeMs > authority.clock.nowMs()) throw invalid("CA certificate is not valid yet");
  if (facts.notAfterMs < authority.clock.nowMs() + MIN_ROOT_LIFETIME_MS) {
    throw invalid("CA certificate expires too soon");
  }
  if (wanted.key === "") {
    await demandExternal(authority, config, current, { root: wanted.cert, called: "desired" });
  }
}

/** The root that is there already only changes hands; any other begins a rotation. */
async function adopt(
  authority: RootAuthority,
  root: RootCA,
  config: CAConfig,
  current: string,
  wanted: Wanted,
): Promise<RootCA> {
  const key = bytes(wanted.key);
  const lastForcedRotation = wanted.force;
  if (wanted.cert === current) {
    return { ...root, caKey: key, rootRotation: undefined, lastForcedRotation };
  }
  if (wanted.key !== "" && wanted.key === text(root.caKey)) {
    throw invalid("Cannot update to a cert with an identical key");
  }
  const running = root.rootRotation;
  if (running !== undefined && normalizePem(text(running.caCert)) === wanted.cert) {
    return { ...root, rootRotation: { ...running, caKey: key }, lastForcedRotation };
  }
  return rotation(authority, root, config, wanted);
}

async function rotation(
  authority: RootAuthority,
  root: RootCA,
  config: CAConfig,
  wanted: Wanted,
): Promise<RootCA> {
  const crossSigned = await signedByOld(authority, root, config, wanted);
  return {
    ...root,
    lastForcedRotation: wanted.force,
    rootRotation: create(RootRotationSchema, {
      caCert: bytes(wanted.cert),
      caKey: bytes(wanted.key),
      crossSignedCaCert: bytes(normalizePem(crossSigned)),
    }),
  };
}

/** Signed by the root itself, never by what a rotation under way has put before it. */
async function signedByOld(
  authority: RootAuthority,
  root: RootCA,
  config: CAConfig,
  wanted: Wanted,
): Promise<string> {
  try {
    if (root.caKey.length > 0) {
      const signer = { cert: text(root.caCert), key: text(root.caKey) };
      return await crossSign(signer, wanted.cert, authority.random);
    }
    if (wanted.key === "") {
      throw invalid("rotating from one external CA to a different external CA is not supported");
    }
    const current = normalizePem(text(root.caCert));
    const urls = externalsOf(config, current, current).map(({ url }) => url);
    return await authority.external.crossSign(urls, wanted);
  } catch (error) {
    if (error instanceof EngineError && error.code === "invalid-argument") throw error;
    const message = "unable to generate a cross-signed certificate for root rotation";
    throw new EngineError("internal", `${message}: ${messageOf(error)}`, { cause: error });
  }
}

interface Needed {
  readonly root: string;
  readonly called: "current" | "next" | "desired";
}

async function demandExternal(
  authority: RootAuthority,
  config: CAConfig,
  current: string,
  needed: Needed,
): Promise<void> {
  for (const { url } of externalsOf(config, current, needed.root)) {
    if (await authority.external.reachable(url, needed.root)) return;
  }
  throw invalid(
    `there must be at least one valid, reachable external CA corresponding to the ${needed.called} CA certificate`,
  );
}

/** External CAs of a root; one that names no root belongs to the current one. */
function externalsOf(config: CAConfig, current: string, root: string): readonly ExternalCA[] {
  return config.externalCas.filter(({ protocol, caCert }) => {
    const belongsTo = caCert.length === 0 ? current : normalizePem(text(caCert));
    return protocol === ExternalCA_CAProtocol.CFSSL && belongsTo === root;
  });
}

function parsed(pem: string): CertificateFacts {
  try {
    return readCertificate(pem);
  } catch (error) {
    const message = "could not parse the desired CA certificate";
    throw new EngineError("invalid-argument", message, { cause: error });
  }
}

function text(value: Uint8Array): string {
  return new TextDecoder().decode(value);
}

function bytes(value: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(value);
}
