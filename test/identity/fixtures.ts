/** Nodes of a swarm in this process: real certificates, sockets and stores, tasks that only pretend. */

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import type { Executor } from "#agent/executor.ts";
import type { InitRequest, JoinRequest } from "#api/cluster-port.ts";
import { must } from "#base/invariant.ts";
import type { Log } from "#base/ports.ts";
import { parseNodeKey } from "#daemon/swarm-node/key-file.ts";
import { swarmPaths } from "#daemon/swarm-node/paths.ts";
import type { Swarm } from "#daemon/swarm-node/swarm.ts";
import { leafProfile, roleOfUnit } from "#pki/profile.ts";
import { createLog, silentLog } from "#platform/log.ts";
import { realRandom } from "#platform/real-ports.ts";
import { readCertificate } from "#platform/x509/certificate.ts";
import {
  type Authority,
  createRequest,
  issueCertificate,
  readPrivateKey,
  readRequest,
} from "#platform/x509/issue.ts";
import { ClusterSpecSchema, NodeSpec_Availability } from "#wire/gen/swarmkit/specs_pb.js";
import { idleExecutor, pretendSwarm } from "./pretend-swarm.ts";

export interface TestNode {
  readonly name: string;
  readonly swarm: Swarm;
  /** "127.0.0.1:port" of its manager, should it become one. */
  readonly address: string;
  readonly dataRoot: string;
  init(more?: Partial<InitRequest>): Promise<string>;
  join(manager: TestNode, token: string, more?: Partial<JoinRequest>): Promise<void>;
  joinAddress(address: string, token: string, more?: Partial<JoinRequest>): Promise<void>;
  /** Ends the engine and starts another on the same disk, whose clock may be another, too. */
  restart(clockOffsetMs?: number): Promise<TestNode>;
  stop(): Promise<void>;
}

export class TestCluster {
  readonly #nodes: TestNode[] = [];
  readonly #directories: string[] = [];
  readonly #createExecutor: (name: string) => Executor;

  /** By default nodes run no tasks. */
  constructor(createExecutor: (name: string) => Executor = idleExecutor) {
    this.#createExecutor = createExecutor;
  }

  /** `clockOffsetMs`: how far its wall clock is ahead of the others'. */
  async node(name: string, clockOffsetMs = 0): Promise<TestNode> {
    const dataRoot = await mkdtemp(join(tmpdir(), `skep-identity-${name}-`));
    this.#directories.push(dataRoot);
    return this.#start(name, dataRoot, await freePort(), clockOffsetMs);
  }

  /** Puts a certificate on the stopped node's disk that ended minutes ago, for the key it has. */
  async expire(node: TestNode, authority: Authority): Promise<void> {
    const paths = swarmPaths(node.dataRoot);
    const facts = readCertificate(await readFile(paths.nodeCert, "utf8"));
    const key = readPrivateKey(
      parseNodeKey(await readFile(paths.nodeKey, "utf8"), undefined).privateKey,
    );
    const subject = {
      nodeId: facts.commonName,
      clusterId: facts.organization,
      role: must(roleOfUnit(facts.organizationalUnit), "role"),
    };
    // Younger than the root, whose own life began an hour before it was made.
    const longAgo = Date.now() - 65 * 60_000;
    const request = await readRequest(await createRequest(key, ""));
    const profile = leafProfile(subject, longAgo, 3_600_000);
    const expired = await issueCertificate(authority, request, profile, realRandom);
    await writeFile(paths.nodeCert, expired);
  }

  async close(): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.stop()));
    for (const directory of this.#directories)
      await rm(directory, { recursive: true, force: true });
  }

  async #start(
    name: string,
    dataRoot: string,
    port: number,
    clockOffsetMs: number,
  ): Promise<TestNode> {
    const log: Log = !process.env["SKEP_TEST_LOG"] ? silentLog : createLog("debug").child({ name });
    const address = `127.0.0.1:${port}`;
    const swarm = pretendSwarm({
      name,
      dataRoot,
      host: "127.0.0.1",
      createExecutor: this.#createExecutor,
      clockOffsetMs,
      onFatal: (error) => {
        throw error;
      },
      log,
    });
    await swarm.start();
    const node: TestNode = {
      name,
      swarm,
      address,
      dataRoot,
      init: (more) =>
        swarm.init({
          listenAddr: address,
          advertiseAddr: address,
          dataPathAddr: "",
          dataPathPort: 0,
          defaultAddrPool: [],
          subnetSize: 0,
          forceNewCluster: false,
          spec: create(ClusterSpecSchema),
          autoLockManagers: false,
          availability: NodeSpec_Availability.ACTIVE,
          ...more,
        }),
      join: (manager, token, more) => node.joinAddress(manager.address, token, more),
      joinAddress: (remote, joinToken, more) =>
        swarm.join({
          listenAddr: address,
          advertiseAddr: "",
          dataPathAddr: "",
          remoteAddrs: [remote],
          joinToken,
          availability: NodeSpec_Availability.ACTIVE,
          ...more,
        }),
      restart: async (offsetMs = clockOffsetMs) => {
        await node.stop();
        return this.#start(name, dataRoot, port, offsetMs);
      },
      stop: () => swarm.close(),
    };
    this.#nodes.push(node);
    return node;
  }
}

/** The cluster's root with its key, out of a manager's store. */
export function authorityOf(manager: TestNode): Authority {
  const root = manager.swarm.manager()?.state.view().byName("cluster", "default")?.rootCa;
  return {
    cert: Buffer.from(root?.caCert ?? []).toString(),
    key: Buffer.from(root?.caKey ?? []).toString(),
  };
}

/** The cluster's own facts, as its control API shows them. */
export async function clusterOf(node: TestNode) {
  const { clusters } = await node.swarm.control().listClusters({});
  const [cluster] = clusters;
  if (cluster?.rootCa?.joinTokens === undefined) throw new Error("no cluster");
  return {
    cluster,
    worker: cluster.rootCa.joinTokens.worker,
    manager: cluster.rootCa.joinTokens.manager,
  };
}

export async function nodesOf(node: TestNode) {
  const { nodes } = await node.swarm.control().listNodes({});
  return new Map(nodes.map((each) => [each.id, each]));
}

/** A port that nobody listens on at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
