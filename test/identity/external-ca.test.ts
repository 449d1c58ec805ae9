/** A swarm whose root is kept by somebody else: a small authority that speaks CFSSL's protocol. */

import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { must } from "#base/invariant.ts";
import { leafProfile, rootValidity } from "#pki/profile.ts";
import { realRandom } from "#platform/real-ports.ts";
import { readCertificate, verifyChain } from "#platform/x509/certificate.ts";
import { type Authority, createRoot, issueCertificate, readRequest } from "#platform/x509/issue.ts";
import { ExternalCA_CAProtocol, NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { forged, stolenFrom } from "./credentials.ts";
import { authorityOf, clusterOf, TestCluster, type TestNode } from "./fixtures.ts";

interface SignRequest {
  readonly certificate_request: string;
  readonly hosts: readonly string[];
  readonly subject: {
    readonly CN: string;
    readonly names: readonly { readonly OU: string; readonly O: string }[];
  };
}

/** Signs what managers ask for; `signing` off: it answers nobody. */
class Cfssl {
  signing = true;
  /** Who asked for whom. */
  readonly asked: { readonly by: string; readonly for: string }[] = [];
  /** Makes a certificate say something else than was asked for. */
  organization: string | undefined;
  readonly #root: Authority;
  #server: Server | undefined;

  constructor(root: Authority) {
    this.#root = root;
  }

  async listen(): Promise<string> {
    const tls = await forged(this.#root, {
      nodeId: "localhost",
      role: NodeRole.MANAGER,
      clusterId: "authority",
    });
    const server = createServer(
      { ...tls, requestCert: true, rejectUnauthorized: false },
      (request, response) => {
        let body = "";
        request.on("data", (chunk) => (body += String(chunk)));
        request.on("end", () => {
          const by = (request.socket as TLSSocket).getPeerCertificate().subject?.CN;
          void this.#sign(JSON.parse(body) as SignRequest, String(by)).then(
            (certificate) =>
              response.end(JSON.stringify({ success: true, result: { certificate } })),
            () => response.writeHead(503).end(),
          );
        });
      },
    );
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(0, "localhost", resolve));
    return `https://localhost:${(server.address() as AddressInfo).port}/api/v1/cfssl/authsign`;
  }

  async close(): Promise<void> {
    this.#server?.closeAllConnections();
    await new Promise<void>((resolve) => {
      if (this.#server === undefined) resolve();
      else this.#server.close(() => resolve());
    });
  }

  async #sign({ certificate_request: csr, hosts, subject }: SignRequest, by: string) {
    if (!this.signing) throw new Error("out of order");
    const [names] = subject.names;
    this.asked.push({ by, for: subject.CN });
    const role = names?.OU === "swarm-manager" ? NodeRole.MANAGER : NodeRole.WORKER;
    const clusterId = this.organization ?? names?.O ?? "";
    const profile = leafProfile({ nodeId: subject.CN, role, clusterId }, Date.now(), 3_600_000);
    expect(hosts).toEqual(profile.dnsNames);
    return issueCertificate(this.#root, await readRequest(csr), profile, realRandom);
  }
}

let cluster: TestCluster;
let manager: TestNode;
let outside: Authority;
let authority: Cfssl;

beforeEach(async () => {
  cluster = new TestCluster();
  manager = await cluster.node("m1");
  outside = await createRoot(rootValidity(Date.now()), realRandom);
  authority = new Cfssl(outside);
});

afterEach(async () => {
  await cluster.close();
  await authority.close();
});

/** The swarm's root becomes the one outside, whose key the swarm never sees. */
async function handOver(): Promise<void> {
  const url = await authority.listen();
  const { cluster: object } = await clusterOf(manager);
  const caCert = Buffer.from(outside.cert);
  const external = { protocol: ExternalCA_CAProtocol.CFSSL, url, options: {}, caCert };
  const caConfig = {
    ...must(object.spec?.caConfig, "ca"),
    externalCas: [{ $typeName: "docker.swarmkit.v1.ExternalCA" as const, ...external }],
    signingCaCert: caCert,
  };
  await manager.swarm.control().updateCluster({
    clusterId: object.id,
    clusterVersion: must(object.meta?.version, "version"),
    spec: { ...must(object.spec, "spec"), caConfig },
  });
  await vi.waitUntil(() => authorityOf(manager).cert === outside.cert, { timeout: 60_000 });
}

test("the root moves to an authority outside, which signs from then on, and is waited for", async () => {
  const worker = await cluster.node("w1");
  await manager.init();
  await worker.join(manager, (await clusterOf(manager)).worker);
  await handOver();
  expect(authorityOf(manager).key).toBe("");
  const managerId = manager.swarm.localNodeId();
  expect(new Set(authority.asked.map(({ by }) => by))).toEqual(new Set([managerId]));
  expect(new Set(authority.asked.map((each) => each.for))).toEqual(
    new Set([managerId, worker.swarm.localNodeId()]),
  );
  const late = await cluster.node("w2");
  await late.join(manager, (await clusterOf(manager)).worker);
  verifyChain((await stolenFrom(late)).cert, outside.cert, Date.now());
  authority.signing = false;
  const patient = await cluster.node("w3");
  const before = authority.asked.length;
  const joined = patient.join(manager, (await clusterOf(manager)).worker).catch(() => undefined);
  await vi.waitUntil(() => manager.swarm.manager()?.state.view().count("node") === 4, {
    timeout: 5_000,
  });
  authority.signing = true;
  await joined;
  await expect.poll(() => patient.swarm.info().state, { timeout: 30_000 }).toBe("active");
  expect(authority.asked.length).toBeGreaterThan(before);
});

test("an authority that signs something else is told of, and its certificate is not used", async () => {
  await manager.init();
  await handOver();
  authority.organization = "another cluster";
  const worker = await cluster.node("w1");
  await expect(worker.join(manager, (await clusterOf(manager)).worker)).rejects.toThrow(
    "the external CA signed another subject than it was asked for",
  );
  expect(readCertificate((await stolenFrom(manager)).cert).commonName).toBe(
    manager.swarm.localNodeId(),
  );
});
