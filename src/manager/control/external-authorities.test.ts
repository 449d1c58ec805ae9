import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import { leafProfile, rootValidity } from "#pki/profile.ts";
import type { TlsMaterial } from "#platform/grpc/server.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { readCertificate } from "#platform/x509/certificate.ts";
import {
  type Authority,
  createRequest,
  createRoot,
  crossSign,
  generateKey,
  issueCertificate,
  readRequest,
} from "#platform/x509/issue.ts";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { createExternalAuthorities } from "./external-authorities.ts";

const HOUR_MS = 3_600_000;
const servers: Server[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

function newRoot(): Promise<Authority> {
  return createRoot(rootValidity(realClock.nowMs()), realRandom);
}

async function credentials(root: Authority, name: string): Promise<TlsMaterial> {
  const key = generateKey();
  const request = await readRequest(await createRequest(key, name));
  const subject = { nodeId: name, role: NodeRole.MANAGER, clusterId: "c" };
  const profile = leafProfile(subject, realClock.nowMs(), 2 * HOUR_MS);
  const cert = await issueCertificate(root, request, profile, realRandom);
  return { cert, key: String(key.export({ type: "pkcs8", format: "pem" })), ca: root.cert };
}

/** An authority that signs with `root` for callers whose certificate `root` issued. */
async function authority(root: Authority, next: Authority): Promise<string> {
  const tls = await credentials(root, "localhost");
  const answer = async (body: string): Promise<string> => {
    const { profile, certificate_request: csr } = JSON.parse(body) as Record<string, string>;
    const asked = await readRequest(csr ?? "");
    const known = readCertificate(next.cert).asIssuer.publicKey;
    const fits = profile === "CA" && Buffer.compare(asked.publicKey, known) === 0;
    const certificate = await crossSign(root, next.cert, realRandom);
    return JSON.stringify(fits ? { success: true, result: { certificate } } : {});
  };
  const server = createServer({ ...tls, requestCert: true }, (request, response) => {
    let body = "";
    request.on("data", (chunk) => (body += String(chunk)));
    request.on("end", () => void answer(body).then((text) => response.end(text)));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "localhost", resolve));
  return `https://localhost:${(server.address() as AddressInfo).port}`;
}

test("an authority is there when it shows a certificate of the root that it stands for", async () => {
  const [root, other] = await Promise.all([newRoot(), newRoot()]);
  const url = await authority(root, other);
  const tls = await credentials(root, "manager");
  const external = createExternalAuthorities(() => tls);
  expect(await external.reachable(url, root.cert)).toBe(true);
  expect(await external.reachable(url, other.cert)).toBe(false);
  expect(await external.reachable("http://localhost:1", root.cert)).toBe(false);
  expect(await external.reachable("https://localhost:1", root.cert)).toBe(false);
  expect(await external.reachable("not a url", root.cert)).toBe(false);
});

test("the next root is signed by the first authority that does it", async () => {
  const [root, next] = await Promise.all([newRoot(), newRoot()]);
  const url = await authority(root, next);
  const tls = await credentials(root, "manager");
  const external = createExternalAuthorities(() => tls);
  const signed = readCertificate(await external.crossSign(["https://localhost:1", url], next));
  expect(signed.issuerSubject).toEqual(readCertificate(root.cert).asIssuer.subject);
  expect(signed.asIssuer.publicKey).toEqual(readCertificate(next.cert).asIssuer.publicKey);
  await expect(external.crossSign([url], await newRoot())).rejects.toThrow(
    "signing request failed",
  );
  await expect(external.crossSign([], next)).rejects.toThrow("must provide an external CA");
});
