/**
 * The leader's half of the certificate authority: signs the requests in the store, and drives a root
 * rotation to its end. It runs as long as its signal; what it could not sign for want of a signer
 * (an external CA that is away) it tries again.
 */

import { create } from "@bufbuild/protobuf";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import { toHex } from "#base/ids.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import { nextIssuanceStep } from "#pki/issuance.ts";
import { generateJoinToken } from "#pki/join-token.ts";
import { type LeafProfile, leafProfile } from "#pki/profile.ts";
import { nextRotationStep, ROTATE_STEP_MS, signerOf } from "#pki/rotation.ts";
import { formerRootsAfter } from "#pki/workload.ts";
import { sleep } from "#platform/async.ts";
import { digestOfPem, readCertificate } from "#platform/x509/certificate.ts";
import { issueCertificate, readRequest } from "#platform/x509/issue.ts";
import type { Cluster, Node } from "#wire/gen/swarmkit/objects_pb.js";
import {
  type Certificate,
  IssuanceStatus_State,
  IssuanceStatusSchema,
  JoinTokensSchema,
  type RootCA,
  RootCASchema,
} from "#wire/gen/swarmkit/types_pb.js";
import type { ClusterState } from "../state.ts";
import { clusterOf, findCluster, nodeLifetimeMs } from "./cluster.ts";
import type { ExternalCa } from "./external-ca.ts";

/** Pause before requests are tried again that found no signer. */
const RETRY_MS = 10_000;

export interface CaSignerOptions {
  readonly state: ClusterState;
  readonly externalCa: ExternalCa;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Runs until the signal is aborted; rejects only when the store can't be followed. */
export async function runCaSigner(options: CaSignerOptions, signal: AbortSignal): Promise<void> {
  const signer = new CaSigner(options, signal);
  await Promise.all([signer.answerRequests(), signer.retry(), signer.rotate()]);
}

class CaSigner {
  readonly #options: CaSignerOptions;
  readonly #signal: AbortSignal;
  /** Ids of nodes whose request found no signer. */
  readonly #deferred = new Set<string>();

  constructor(options: CaSignerOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  async answerRequests(): Promise<void> {
    const { view, batches } = this.#options.state.viewAndWatch({ signal: this.#signal });
    for (const node of view.all("node")) await this.#consider(node);
    for await (const batch of batches) {
      for (const change of batch.changes) {
        if (change.kind !== "node") continue;
        if (change.action === "delete") this.#deferred.delete(change.object.id);
        else await this.#consider(change.object);
      }
    }
  }

  async retry(): Promise<void> {
    await this.#every(RETRY_MS, async () => {
      const waiting = Array.from(this.#deferred);
      for (const nodeId of waiting) {
        const node = this.#options.state.view().get("node", nodeId);
        this.#deferred.delete(nodeId);
        if (node !== undefined) await this.#consider(node);
        // Where one found no signer, the others will not find one either.
        if (this.#deferred.has(nodeId)) return;
      }
    });
  }

  async rotate(): Promise<void> {
    await this.#every(ROTATE_STEP_MS, async () => {
      const view = this.#options.state.view();
      const cluster = findCluster(view);
      const next = cluster?.rootCa?.rootRotation;
      if (cluster === undefined || next === undefined) return;
      const issuer = readCertificate(textOf(next.caCert)).asIssuer;
      const step = nextRotationStep(cluster, view.all("node"), issuer);
      if (step.kind === "finish") await this.#finishRotation();
      if (step.kind === "rotate") await this.#askForRenewal(step.nodeIds);
    });
  }

  async #consider(node: Node): Promise<void> {
    if (nextIssuanceStep(node) !== "sign" || node.certificate === undefined) return;
    const csr = node.certificate.csr;
    let answer: Pick<Certificate, "status" | "certificate">;
    try {
      const certificate = await this.#sign(node, node.certificate);
      answer = { certificate, status: statusOf(IssuanceStatus_State.ISSUED) };
    } catch (error) {
      if (this.#signal.aborted) return;
      this.#options.log.error("certificate not signed", { node: node.id, error });
      if (isErrorCode(error, "unavailable")) {
        this.#deferred.add(node.id);
        return;
      }
      answer = {
        certificate: node.certificate.certificate,
        status: statusOf(IssuanceStatus_State.FAILED, messageOf(error)),
      };
    }
    await this.#write("certificate", (cluster, tx) => {
      const current = tx.get("node", node.id);
      // The node may have gone, or asked again with another key, while this one was signed.
      const asked = current?.certificate;
      if (current === undefined || asked === undefined || !sameBytes(asked.csr, csr)) return;
      if (nextIssuanceStep(current) !== "sign" || cluster === undefined) return;
      tx.update("node", { ...current, certificate: { ...asked, ...answer } });
    });
  }

  async #sign(node: Node, asked: Certificate): Promise<Uint8Array> {
    const { clock, random, externalCa, state } = this.#options;
    const cluster = clusterOf(state.view());
    const root = cluster.rootCa;
    if (root === undefined) throw new EngineError("unavailable", "no valid signer found");
    const subject = { nodeId: node.id, role: asked.role, clusterId: cluster.id };
    const lifetimeMs = nodeLifetimeMs(cluster);
    const profile = afterBarred(node, leafProfile(subject, clock.nowMs(), lifetimeMs));
    const request = await readRequest(textOf(asked.csr));
    const intermediate = textOf(root.rootRotation?.crossSignedCaCert ?? new Uint8Array());
    const external = await externalCa.sign(cluster, request.csr, profile, this.#signal);
    if (external !== undefined) {
      assertAsAsked(external, profile, request.publicKey);
      return Buffer.from(external + intermediate);
    }
    const signer = signerOf(root);
    if (signer === undefined) throw new EngineError("unavailable", "no valid signer found");
    const authority = { cert: textOf(signer.cert), key: textOf(signer.key) };
    const leaf = await issueCertificate(authority, request, profile, random);
    return Buffer.from(leaf + intermediate);
  }

  async #askForRenewal(nodeIds: readonly string[]): Promise<void> {
    await this.#write("rotation", (_cluster, tx) => {
      for (const nodeId of nodeIds) {
        const node = tx.get("node", nodeId);
        if (node?.certificate?.status?.state !== IssuanceStatus_State.ISSUED) continue;
        const status = statusOf(IssuanceStatus_State.ROTATE);
        tx.update("node", { ...node, certificate: { ...node.certificate, status } });
      }
    });
  }

  async #finishRotation(): Promise<void> {
    await this.#write("rotation", (cluster, tx) => {
      const rotation = cluster?.rootCa?.rootRotation;
      if (cluster?.rootCa === undefined || rotation === undefined) return;
      const { random, state } = this.#options;
      const formerRoots = formerRootsAfter(cluster.rootCa, rotation, state.nowMs());
      const rootCa = {
        ...newRootCa(rotation, cluster.rootCa, random),
        formerRoots: [...formerRoots],
      };
      const digest = digestOfPem(rotation.caCert);
      const namedJoinTokens = cluster.namedJoinTokens.map((named) => ({
        ...named,
        token: generateJoinToken(digest, random),
      }));
      tx.update("cluster", { ...cluster, rootCa, namedJoinTokens });
    });
    this.#options.log.info("root rotation finished");
  }

  /** Runs the write; what fails while this manager stops leading is not worth a word. */
  async #write(
    what: string,
    write: (
      cluster: Cluster | undefined,
      tx: Parameters<Parameters<ClusterState["update"]>[1]>[0],
    ) => void,
  ): Promise<void> {
    try {
      await this.#options.state.update("ca", (tx) => write(findCluster(tx), tx));
    } catch (error) {
      if (this.#signal.aborted) return;
      this.#options.log.error("CA state not written", { what, error });
    }
  }

  async #every(pauseMs: number, work: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        await sleep(this.#options.clock, pauseMs, this.#signal);
      } catch {
        return;
      }
      await work().catch((error: unknown) => {
        this.#options.log.error("CA loop failed, trying again", { error });
      });
    }
  }
}

/** The root that takes over; the tokens are new, because they name the root. */
function newRootCa(rotation: NonNullable<RootCA["rootRotation"]>, old: RootCA, random: Random) {
  const digest = digestOfPem(rotation.caCert);
  return create(RootCASchema, {
    caCert: rotation.caCert,
    caKey: rotation.caKey,
    caCertHash: `sha256:${toHex(digest)}`,
    joinTokens: create(JoinTokensSchema, {
      worker: generateJoinToken(digest, random),
      manager: generateJoinToken(digest, random),
    }),
    lastForcedRotation: old.lastForcedRotation,
  });
}

/** A manager that was demoted before gets a certificate that can be told from those that it had then. */
function afterBarred({ barredManagerSince }: Node, profile: LeafProfile): LeafProfile {
  const earliestMs = (Number(barredManagerSince) + 1) * 1_000;
  return profile.notBeforeMs >= earliestMs ? profile : { ...profile, notBeforeMs: earliestMs };
}

/** An authority with a policy of its own may leave out, or put in, what decides who a node is. */
function assertAsAsked(certificate: string, asked: LeafProfile, publicKey: Uint8Array): void {
  const { commonName, organizationalUnit, organization, asIssuer } = readCertificate(certificate);
  const asAsked =
    commonName === asked.commonName &&
    organizationalUnit === asked.organizationalUnit &&
    organization === asked.organization &&
    sameBytes(asIssuer.publicKey, publicKey);
  if (asAsked) return;
  throw new EngineError(
    "failed-precondition",
    `the external CA signed another subject than it was asked for: CN=${commonName}, OU=${organizationalUnit}, O=${organization}`,
  );
}

function statusOf(state: IssuanceStatus_State, err = "") {
  return create(IssuanceStatusSchema, { state, err });
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.from(a).equals(Buffer.from(b));
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf8");
}
