/**
 * Replacing the cluster's root without a moment of distrust. While a rotation is under way nodes
 * trust the old root, and their certificates are signed by the new key under a copy of the new root
 * that the old one signed. When every node shows a certificate of the new issuer, the new root takes
 * over. This file decides the next step from the stored state; the leader's CA loop takes it.
 */

import type { Cluster, Node } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeSpec_Membership } from "#wire/gen/swarmkit/specs_pb.js";
import { IssuanceStatus_State, type RootCA } from "#wire/gen/swarmkit/types_pb.js";

/** Nodes asked for a new certificate per step, so that they do not all come at once. */
export const ROTATE_BATCH = 30;
/** Pause between steps. */
export const ROTATE_STEP_MS = 3_000;

/** Who signed a certificate, as nodes report it: DER of the subject and of the public key. */
export interface Issuer {
  readonly subject: Uint8Array;
  readonly publicKey: Uint8Array;
}

export type RotationStep =
  | { readonly kind: "none" }
  /** Ask these nodes for a new certificate (ids, at most ROTATE_BATCH). */
  | { readonly kind: "rotate"; readonly nodeIds: readonly string[] }
  /** Every node has one: the new root becomes the root. */
  | { readonly kind: "finish" }
  /** All nodes that are not there yet were asked. */
  | { readonly kind: "wait"; readonly missing: number };

export function nextRotationStep(
  cluster: Cluster,
  nodes: Iterable<Node>,
  wanted: Issuer,
): RotationStep {
  if (cluster.rootCa?.rootRotation === undefined) return { kind: "none" };
  const ask: string[] = [];
  let missing = 0;
  for (const node of nodes) {
    // A node that is not accepted has no certificate to replace.
    if (node.spec?.membership !== NodeSpec_Membership.ACCEPTED) continue;
    if (hasIssuer(node, wanted)) continue;
    missing += 1;
    const state = node.certificate?.status?.state;
    if (state === IssuanceStatus_State.ISSUED && ask.length < ROTATE_BATCH) ask.push(node.id);
  }
  if (missing === 0) return { kind: "finish" };
  return ask.length > 0 ? { kind: "rotate", nodeIds: ask } : { kind: "wait", missing };
}

/** The root that signs new certificates, and what a node must append to its own to be trusted. */
export interface Signer {
  readonly cert: Uint8Array;
  readonly key: Uint8Array;
  /** PEM that goes behind every leaf; empty outside a rotation. */
  readonly intermediate: Uint8Array;
}

/** Undefined when the cluster keeps no key of its own (an external CA signs). */
export function signerOf(root: RootCA): Signer | undefined {
  const rotation = root.rootRotation;
  if (rotation !== undefined) {
    if (rotation.caKey.length === 0) return undefined;
    const cert = rotation.crossSignedCaCert;
    return { cert, key: rotation.caKey, intermediate: cert };
  }
  if (root.caKey.length === 0) return undefined;
  return { cert: root.caCert, key: root.caKey, intermediate: new Uint8Array() };
}

function hasIssuer(node: Node, wanted: Issuer): boolean {
  const tls = node.description?.tlsInfo;
  return (
    tls !== undefined &&
    equalBytes(tls.certIssuerPublicKey, wanted.publicKey) &&
    equalBytes(tls.certIssuerSubject, wanted.subject)
  );
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
