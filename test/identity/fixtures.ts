/** Nodes of a swarm in this process: real certificates, sockets and stores, tasks that only pretend. */

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { Executor } from "#agent/executor.ts";
import type { InitRequest, JoinRequest } from "#api/cluster-port.ts";
import { must } from "#base/invariant.ts";
import type { Clock, Log } from "#base/ports.ts";
import { parseNodeKey } from "#daemon/swarm-node/key-file.ts";
import { swarmPaths } from "#daemon/swarm-node/paths.ts";
import type { Swarm } from "#daemon/swarm-node/swarm.ts";
import { leafProfile, roleOfUnit } from "#pki/profile.ts";
import { createLog, silentLog } from "#platform/log.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
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
  /** "host:port" of its manager, should it become one. */
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
  readonly #host: string;

  /** By default nodes run no tasks. `host`: the address of this machine that the nodes have. */
  constructor(createExecutor: (name: string) => Executor = idleExecutor, host = "127.0.0.1") {
    this.#createExecutor = createExecutor;
    this.#host = host;
  }

  /** `clockOffsetMs`: how far its wall clock is ahead of the others'. */
  async node(name: string, clockOffsetMs = 0, clock: Clock = realClock): Promise<TestNode> {
    const dataRoot = await mkdtemp(join(tmpdir(), `skep-identity-${name}-`));
    this.#directories.push(dataRoot);
    return this.#start(name, dataRoot, await freePort(this.#host), clockOffsetMs, clock);
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
    clock: Clock,
  ): Promise<TestNode> {
    const log: Log = !process.env["SKEP_TEST_LOG"] ? silentLog : createLog("debug").child({ name });
    const address = `${this.#host}:${port}`;
    const swarm = pretendSwarm({
      name,
      dataRoot,
      host: this.#host,
      createExecutor: this.#createExecutor,
      clockOffsetMs,
      clock,
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
        return this.#start(name, dataRoot, port, offsetMs, clock);
      },
      stop: () => swarm.close(),
    };
    this.#nodes.push(node);
    return node;
  }
}

/** A clock whose long timers wait until the host that sleeps is woken. */
export class SleepersClock implements Clock {
  readonly #longerThanMs: number;
  #held: (() => void)[] | undefined;

  constructor(longerThanMs: number) {
    this.#longerThanMs = longerThanMs;
  }

  readonly nowMs = () => realClock.nowMs();
  readonly monotonicMs = () => realClock.monotonicMs();

  readonly setTimer = (delayMs: number, callback: () => void) => {
    if (this.#held === undefined || delayMs < this.#longerThanMs) {
      return realClock.setTimer(delayMs, callback);
    }
    let isCancelled = false;
    this.#held.push(() => {
      if (!isCancelled) callback();
    });
    return {
      cancel: () => {
        isCancelled = true;
      },
    };
  };

  /** Those set from now on. */
  sleep(): void {
    this.#held = [];
  }

  wake(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const call of held) call();
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

/** Certificates from now on live so long: shorter than operators may have them, past the check of settings. */
export async function shortenCertificates(leader: TestNode, lifetimeMs: number): Promise<void> {
  const state = must(leader.swarm.manager(), "manager").state;
  await state.update("leader", (tx) => {
    const object = must(tx.byName("cluster", "default"), "cluster");
    const spec = must(object.spec, "spec");
    const caConfig = { ...must(spec.caConfig, "ca"), nodeCertExpiry: durationFromMs(lifetimeMs) };
    tx.update("cluster", { ...object, spec: { ...spec, caConfig } });
  });
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
export async function freePort(host = "127.0.0.1"): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const address = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
