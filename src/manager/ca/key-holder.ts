/**
 * A node that has no valid certificate to show, and proves who it is by the key of its last one: what it
 * gets, and what those get who only repeat what it has sent.
 */

import type { Clock } from "#base/ports.ts";
import { BACKDATE_MS } from "#pki/profile.ts";
import { type CertificateFacts, readCertificate } from "#platform/x509/certificate.ts";
import { type CertificateRequest, readRequest } from "#platform/x509/issue.ts";
import type { Node } from "#wire/gen/swarmkit/objects_pb.js";
import { IssuanceStatus_State } from "#wire/gen/swarmkit/types_pb.js";
import type { ClusterIdentity } from "../authz/caller.ts";
import type { ClusterState } from "../state.ts";

/** How soon after its last certificate a node gets another by its key alone. */
const AGAIN_AFTER_MS = 60_000;

export interface Holder {
  readonly node: Node;
  readonly csr: Uint8Array;
  readonly last: CertificateFacts;
}

/**
 * The node whose last certificate holds the key that signed this request. The request is proof of
 * the key, however old: a repeated one yields a certificate for a key that the repeater lacks.
 */
export async function knownHolder(
  options: { readonly state: ClusterState; readonly cluster: ClusterIdentity },
  csr: Uint8Array,
): Promise<Holder | undefined> {
  let request: CertificateRequest;
  try {
    request = await readRequest(textOf(csr));
  } catch {
    return undefined;
  }
  const node = options.state.view().get("node", request.commonName);
  const certificate = node?.certificate?.certificate;
  if (node === undefined || !certificate?.length || options.cluster.removed(node.id)) {
    return undefined;
  }
  const last = readCertificate(textOf(certificate));
  const holds = Buffer.from(last.asIssuer.publicKey).equals(Buffer.from(request.publicKey));
  return holds ? { node, csr, last } : undefined;
}

/**
 * Whether what the node was told when it last asked is the answer to this, too. Anybody may have seen
 * its request who asked what became of it, and can send it again, also written in another way. So it
 * takes no other's place while the node has a certificate to ask with; the same one makes nobody sign
 * and store anew while the certificate that it brought lives, and any other only when that one is a
 * minute old.
 */
export async function isAnswered({ node, csr, last }: Holder, clock: Clock): Promise<boolean> {
  const { csr: asked = new Uint8Array(), status } = node.certificate ?? {};
  const lives = last.notAfterMs > clock.nowMs();
  const isSame = Buffer.from(asked).equals(csr);
  if (status?.state === IssuanceStatus_State.RENEW) {
    return lives || isSame || (await isOfKey(asked, last.asIssuer.publicKey));
  }
  const isFresh = madeMs(last) + againAfterMs(last) > clock.nowMs();
  return status?.state === IssuanceStatus_State.ISSUED && lives && (isSame || isFresh);
}

async function isOfKey(csr: Uint8Array, publicKey: Uint8Array): Promise<boolean> {
  try {
    const asked = await readRequest(textOf(csr));
    return Buffer.from(asked.publicKey).equals(Buffer.from(publicKey));
  } catch {
    return false;
  }
}

/** When it was made: it began to be valid as long before as it lives, an hour at most. */
function madeMs({ notBeforeMs, notAfterMs }: CertificateFacts): number {
  return notBeforeMs + Math.min(BACKDATE_MS, (notAfterMs - notBeforeMs) / 2);
}

/** Certificates that live for minutes only are asked for more often. */
function againAfterMs(facts: CertificateFacts): number {
  return Math.min(AGAIN_AFTER_MS, (facts.notAfterMs - madeMs(facts)) / 4);
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf8");
}
