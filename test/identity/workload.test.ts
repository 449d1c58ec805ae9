/** Tasks that prove to each other which services they are of, by certificates of the swarm's root. */

import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, createServer, type TLSSocket } from "node:tls";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { must } from "#base/invariant.ts";
import { createRequest, generateKey } from "#platform/x509/issue.ts";
import { WorkloadIdentities } from "#wire/gen/skep/identity_pb.js";
import { Control } from "#wire/gen/swarmkit/control_pb.js";
import { Dispatcher } from "#wire/gen/swarmkit/dispatcher_pb.js";
import { ServiceSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { channelShowing, stolenFrom } from "./credentials.ts";
import { authorityOf, clusterOf, TestCluster, type TestNode } from "./fixtures.ts";
import { runningExecutor } from "./pretend-swarm.ts";

/** The end of patience on a busy machine. */
const PATIENT = { timeout: 60_000, interval: 200 };

let cluster: TestCluster;
let manager: TestNode;
let worker: TestNode;

beforeEach(async () => {
  cluster = new TestCluster(runningExecutor);
  manager = await cluster.node("m1");
  worker = await cluster.node("w1");
  await manager.init();
  await worker.join(manager, (await clusterOf(manager)).worker);
});

afterEach(() => cluster.close());

async function taskOf(name: string, hostname: string, label?: string): Promise<string> {
  const control = manager.swarm.control();
  const labels = label === undefined ? {} : { "skep.identity": label };
  const { service } = await control.createService({
    spec: create(ServiceSpecSchema, {
      annotations: { name, labels },
      mode: { case: "replicated", value: { replicas: 1n } },
      task: {
        runtime: { case: "container", value: { image: "web:1" } },
        placement: { constraints: [`node.hostname==${hostname}`] },
      },
    }),
  });
  const serviceIds = [must(service, "service").id];
  const task = await vi.waitUntil(
    async () => {
      const { tasks } = await control.listTasks({ filters: { serviceIds } });
      return tasks.find(({ status }) => status?.state === TaskState.RUNNING);
    },
    { timeout: 20_000 },
  );
  return task.id;
}

async function identityOf(node: TestNode, taskId: string) {
  const key = generateKey();
  const csr = Buffer.from(await createRequest(key, "anything"));
  const { certificate, bundle } = await node.swarm.workloadIdentities().issue({ taskId, csr });
  return {
    cert: Buffer.from(certificate).toString(),
    ca: Buffer.from(bundle).toString(),
    key: key.export({ type: "pkcs8", format: "pem" }) as string,
  };
}

type Identity = Awaited<ReturnType<typeof identityOf>>;

/** Speaks mutual TLS: what each saw of the other. Rejects where one does not believe the other. */
async function meet(client: Identity, served: Identity): Promise<readonly [string, string]> {
  const server = createServer({ ...served, requestCert: true, rejectUnauthorized: true });
  const accepted = once(server, "secureConnection");
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  let seenByClient = "";
  const socket = connect({
    port,
    host: "127.0.0.1",
    ...client,
    // Services are known by their URI, not by the name of a host.
    checkServerIdentity: (_host, certificate) => {
      seenByClient = String(certificate.subjectaltname);
      return undefined;
    },
  });
  const failed = once(socket, "error").then(([error]) => Promise.reject(error as Error));
  const refused = once(server, "tlsClientError").then(([error]) => Promise.reject(error as Error));
  try {
    const [other] = (await Promise.race([accepted, failed, refused])) as [TLSSocket];
    expect(other.authorized).toBe(true);
    return [seenByClient, String(other.getPeerCertificate().subjectaltname)];
  } finally {
    for (const lost of [failed, refused]) lost.catch(() => undefined);
    socket.destroy();
    server.close();
  }
}

test("two services know each other by it, and it opens nothing of the swarm", async () => {
  const web = await identityOf(worker, await taskOf("web", "w1", "x509"));
  const db = await identityOf(manager, await taskOf("db", "m1", "x509"));
  const { cluster: object } = await clusterOf(manager);
  const named = (service: string) => `URI:spiffe://${object.id}/service/${service}`;
  expect(await meet(web, db)).toEqual([named("db"), named("web")]);
  const channel = channelShowing(manager.address, authorityOf(manager).cert, web);
  try {
    for (const call of [
      channel.client(Control).listNodes({}),
      channel.client(Dispatcher).heartbeat({ sessionId: "x" }),
    ]) {
      await expect(call).rejects.toMatchObject({ code: "permission-denied" });
    }
  } finally {
    channel.close();
  }
});

test("services that have not read their files since the root was replaced still know each other", async () => {
  const [web, db] = [await taskOf("web", "w1", "x509"), await taskOf("db", "m1", "x509")];
  const webs = [await identityOf(worker, web)];
  const dbs = [await identityOf(manager, db)];
  const before = authorityOf(manager).cert;
  const rotate = async () => {
    const { spec, meta, id } = (await clusterOf(manager)).cluster;
    const known = must(spec?.caConfig, "ca");
    await manager.swarm.control().updateCluster({
      clusterId: id,
      clusterVersion: must(meta?.version, "version"),
      spec: { ...must(spec, "spec"), caConfig: { ...known, forceRotate: known.forceRotate + 1n } },
    });
    return "done";
  };
  // Somebody else may write the object between the read and the write.
  await expect.poll(() => rotate().catch(String), PATIENT).toBe("done");
  await expect.poll(() => authorityOf(manager).cert, PATIENT).not.toBe(before);
  webs.push(await identityOf(worker, web));
  dbs.push(await identityOf(manager, db));
  expect(new Set(webs.map(({ ca }) => ca)).size).toBe(2);
  for (const client of webs) for (const server of dbs) await meet(client, server);
  for (const client of dbs) for (const server of webs) await meet(client, server);
});

test("a node gets them for its own tasks that ask for one, and for no other", async () => {
  const own = await taskOf("plain", "w1");
  const foreign = await taskOf("db", "m1", "x509");
  const unknown = { code: "permission-denied", message: /is not assigned to this node/ };
  await expect(identityOf(worker, foreign)).rejects.toMatchObject({ code: unknown.code });
  await expect(identityOf(worker, "nothing")).rejects.toThrow(unknown.message);
  await expect(identityOf(worker, own)).rejects.toThrow("asks for no identity");
  const channel = channelShowing(
    manager.address,
    authorityOf(manager).cert,
    await stolenFrom(worker),
  );
  try {
    const csr = Buffer.from("no request");
    await expect(channel.client(WorkloadIdentities).issue({ taskId: own, csr })).rejects.toThrow(
      "malformed certificate request",
    );
  } finally {
    channel.close();
  }
});
