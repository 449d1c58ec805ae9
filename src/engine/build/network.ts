/**
 * The network of a build's commands: a namespace of their own on one of the engine's networks, as a
 * container would have it, or that of the host or of a container. The namespace is held by a process
 * that ends with the build, and with us.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { EngineError, messageOf } from "#base/error.ts";
import { newHexId } from "#base/ids.ts";
import type { Random } from "#base/ports.ts";
import type { ContainerService, NetworkService } from "../ports.ts";

export interface BuildNetworkPorts {
  readonly networks: Pick<NetworkService, "attach" | "detach" | "idOf" | "inspect">;
  readonly containers: Pick<ContainerService, "inspect">;
  readonly random: Random;
}

export interface BuildNetwork {
  /** "host", "none", or undefined = the namespace of `pid`. */
  readonly mode: "host" | "none" | undefined;
  readonly pid: number | undefined;
  /** Empty = the host's. */
  readonly nameservers: readonly string[];
  /** What "host-gateway" stands for. */
  readonly gateway: string | undefined;
}

const DEFAULT_NETWORK = "bridge";

/** Runs `work` with the network up; it is gone afterwards. */
export async function withBuildNetwork<T>(
  ports: BuildNetworkPorts,
  networkMode: string,
  work: (network: BuildNetwork) => Promise<T>,
): Promise<T> {
  const gateway = await defaultGateway(ports);
  const none = { pid: undefined, nameservers: [], gateway };
  if (networkMode === "host" || networkMode === "none") return work({ mode: networkMode, ...none });
  if (networkMode.startsWith("container:")) {
    const pid = await pidOf(ports, networkMode.slice("container:".length));
    return work({ mode: undefined, pid, nameservers: [], gateway });
  }
  const named = !["", "default"].includes(networkMode);
  const name = named ? networkMode : DEFAULT_NETWORK;
  // An engine can be run without its default network.
  if (!named && ports.networks.idOf(name) === undefined) return work({ mode: "none", ...none });
  const holder = await startHolder();
  const containerId = newHexId(ports.random);
  try {
    const pid = holder.pid ?? 0;
    const sandbox = {
      containerId,
      containerName: `build-${containerId.slice(0, 12)}`,
      netnsPath: `/proc/${pid}/ns/net`,
      pid,
      hostname: "",
    };
    const { nameservers, networks } = await ports.networks.attach(sandbox, { [name]: {} }, []);
    const own = networks.map(({ endpoint }) => endpoint.Gateway).find((address) => address);
    return await work({ mode: undefined, pid, nameservers, gateway: own ?? gateway });
  } finally {
    await ports.networks.detach(containerId);
    holder.kill("SIGKILL");
  }
}

async function defaultGateway({ networks }: BuildNetworkPorts): Promise<string | undefined> {
  const bridge = await networks.inspect(DEFAULT_NETWORK).catch(() => undefined);
  return bridge?.IPAM.Config?.map(({ Gateway }) => Gateway).find((address) => address);
}

async function pidOf({ containers }: BuildNetworkPorts, reference: string): Promise<number> {
  const { State } = await containers.inspect(reference);
  if (State.Pid > 0) return State.Pid;
  throw new EngineError("conflict", `cannot join network of a non running container: ${reference}`);
}

/** A process that does nothing in a network namespace of its own. */
function startHolder(): Promise<ChildProcess> {
  return new Promise((resolve, reject) => {
    const script = "ip link set lo up; echo ready; exec sleep infinity";
    const child = spawn(
      "setpriv",
      ["--pdeathsig", "KILL", "unshare", "--net", "sh", "-c", script, "skep-build-network"],
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    let said = "";
    child.stderr.on("data", (chunk: Buffer) => {
      said = `${said}${String(chunk)}`.slice(-1000);
    });
    child.on("error", (error) => reject(failed(messageOf(error))));
    child.on("exit", () => reject(failed(said.trim())));
    child.stdout.once("data", () => resolve(child));
  });
}

function failed(reason: string): EngineError {
  return new EngineError("internal", `cannot make a network namespace for the build: ${reason}`);
}
