/**
 * The networks of a service's spec, from the names that users write to ids of swarm networks. `host`
 * and `bridge` are every node's own; the swarm has an object for each that stands for them. Other
 * networks of this host alone are refused.
 */

import { EngineError, isErrorCode } from "#base/error.ts";
import type { Network } from "#wire/gen/swarmkit/objects_pb.js";
import type { ServiceSpec } from "#wire/gen/swarmkit/specs_pb.js";
import type { NetworkAttachmentConfig } from "#wire/gen/swarmkit/types_pb.js";
import type { ClusterPort } from "./cluster-port.ts";
import { findNetwork } from "./swarm-lookup.ts";

type ControlClient = ReturnType<ClusterPort["control"]>;

const PREDEFINED: readonly string[] = ["bridge", "host", "none", "default"];

export interface LocalNetworks {
  /** The name of this host's network with that name, id or id prefix; swarm networks are none. */
  nameOf(input: string): Promise<string | undefined>;
}

export async function withNetworkIds(
  control: ControlClient,
  local: LocalNetworks,
  spec: ServiceSpec,
): Promise<ServiceSpec> {
  const { task } = spec;
  const resolve = async (config: NetworkAttachmentConfig) => {
    const { id } = await resolveNetwork(control, local, config.target);
    return { ...config, target: id };
  };
  if (task !== undefined && task.networks.length > 0) {
    const networks = await Promise.all(task.networks.map(resolve));
    return { ...spec, task: { ...task, networks } };
  }
  return { ...spec, networks: await Promise.all(spec.networks.map(resolve)) };
}

async function resolveNetwork(
  control: ControlClient,
  local: LocalNetworks,
  target: string,
): Promise<Network> {
  try {
    return await findNetwork(control, target);
  } catch (error) {
    if (!isErrorCode(error, "not-found")) throw error;
    const name = await local.nameOf(target);
    if (name === undefined) throw error;
    if (PREDEFINED.includes(name)) return findPredefined(control, name);
    throw new EngineError(
      "forbidden",
      `The network ${name} cannot be used with services. Only networks scoped to the swarm can be used, such as those created with the overlay driver.`,
    );
  }
}

async function findPredefined(control: ControlClient, name: string): Promise<Network> {
  try {
    return await findNetwork(control, name);
  } catch (error) {
    if (!isErrorCode(error, "not-found")) throw error;
    const message = `could not find the corresponding predefined swarm network: network ${name} not found`;
    throw new EngineError("not-found", message, { cause: error });
  }
}
