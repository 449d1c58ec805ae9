/** A swarm in this process whose hosts pretend to run tasks, with what tests ask of it. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { Executor } from "#agent/executor.ts";
import { must } from "#base/invariant.ts";
import {
  ClusterSpecSchema,
  type NetworkSpecSchema,
  ServiceSpecSchema,
} from "#wire/gen/swarmkit/specs_pb.js";
import { clusterOf, TestCluster, type TestNode } from "../identity/fixtures.ts";
import { TaskHost } from "./task-host.ts";

export class PretendSwarm {
  readonly #directory: string;
  readonly #cluster: TestCluster;
  readonly #hosts = new Map<string, TaskHost>();
  readonly #executors = new Map<string, Executor>();
  readonly #nodes = new Map<string, TestNode>();

  private constructor(directory: string) {
    this.#directory = directory;
    this.#cluster = new TestCluster((name) => must(this.#executors.get(name), name));
  }

  static async open(): Promise<PretendSwarm> {
    return new PretendSwarm(await mkdtemp(join(tmpdir(), "skep-dataplane-")));
  }

  async close(): Promise<void> {
    await this.#cluster.close();
    for (const host of this.#hosts.values()) await host.close();
    await rm(this.#directory, { recursive: true, force: true });
  }

  /** Managers m1… and workers w1…, with heartbeats of a second. */
  async form(managers: number, workers: number): Promise<readonly TestNode[]> {
    const first = await this.#node("m1");
    const heartbeatPeriod = durationFromMs(1_000);
    const spec = create(ClusterSpecSchema, { dispatcher: { heartbeatPeriod } });
    await first.init({ spec, dataPathPort: 4790 });
    const tokens = await clusterOf(first);
    const nodes = [first];
    for (let at = 2; at <= managers; at++) {
      nodes.push(await this.#joined(`m${at}`, first, tokens.manager));
    }
    for (let at = 1; at <= workers; at++) {
      nodes.push(await this.#joined(`w${at}`, first, tokens.worker));
    }
    return nodes;
  }

  host(name: string): TaskHost {
    return must(this.#hosts.get(name), name);
  }

  node(name: string): TestNode {
    return must(this.#nodes.get(name), name);
  }

  /** Ends the engine of a host and starts another; what ran goes on. */
  async restart(name: string): Promise<void> {
    await this.node(name).stop();
    await this.#open(this.host(name));
    this.#nodes.set(name, await this.node(name).restart());
  }

  async network(
    name: string,
    more: MessageInitShape<typeof NetworkSpecSchema> = {},
  ): Promise<string> {
    const annotations = {
      $typeName: "docker.swarmkit.v1.Annotations" as const,
      name,
      labels: {},
      indices: [],
    };
    const driverConfig = {
      $typeName: "docker.swarmkit.v1.Driver" as const,
      name: "overlay",
      options: {},
    };
    const spec = { ...more, annotations, driverConfig };
    const { network } = await this.#control().createNetwork({ spec });
    return must(network, name).id;
  }

  /** A service with a task on each node, or on those that the constraints name. */
  async service(name: string, networkId: string, constraints: string[] = []): Promise<string> {
    const spec = create(ServiceSpecSchema, {
      annotations: { name },
      mode: { case: "global", value: {} },
      task: {
        runtime: { case: "container", value: { image: "web:1" } },
        networks: [{ target: networkId }],
        placement: { constraints },
      },
    });
    const { service } = await this.#control().createService({ spec });
    return must(service, name).id;
  }

  async removeService(serviceId: string): Promise<void> {
    await this.#control().removeService({ serviceId });
  }

  #control() {
    return this.node("m1").swarm.control();
  }

  async #node(name: string): Promise<TestNode> {
    const host = new TaskHost(name);
    this.#hosts.set(name, host);
    await this.#open(host);
    const node = await this.#cluster.node(name);
    this.#nodes.set(name, node);
    return node;
  }

  async #open(host: TaskHost): Promise<void> {
    const swarm = () => this.#nodes.get(host.name)?.swarm;
    this.#executors.set(host.name, await host.open(this.#directory, swarm));
  }

  async #joined(name: string, manager: TestNode, token: string): Promise<TestNode> {
    const node = await this.#node(name);
    await node.join(manager, token);
    return node;
  }
}
