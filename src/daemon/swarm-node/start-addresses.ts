/**
 * The addresses of a node's part in a swarm: what a request to found, restore or join one makes of this
 * machine's, and what a start state says of them.
 */

import type { JoinRequest, RestoreRequest } from "#api/cluster-port.ts";
import {
  DEFAULT_PORT,
  dataPathPort,
  formatHostPort,
  type HostAddresses,
  isUnspecified,
  localAddress,
  resolveAdvertiseAddr,
  resolveDataPathAddr,
  resolveListenAddr,
  splitHostPort,
} from "./addresses.ts";
import { badRequest } from "./errors.ts";
import { addressTowards } from "./host-addresses.ts";
import type { StartState } from "./start-state.ts";

/** Where a manager of this node listens and how others reach it. */
export interface ManagerAddresses {
  readonly listenHost: string;
  readonly listenPort: number;
  /** "host:port". */
  readonly advertise: string;
}

/** Throws `EngineError` for addresses that are none, or not this machine's. */
export function initState(
  request: Omit<RestoreRequest, "backup" | "key"> & { readonly dataPathPort: number },
  machine: HostAddresses,
): StartState {
  const listen = resolveListenAddr(request.listenAddr, machine);
  const advertise = resolveAdvertiseAddr(request.advertiseAddr, listen.port, machine);
  return {
    localAddr: localAddress(listen.host, advertise.host, machine),
    remoteAddr: "",
    listenAddr: formatHostPort(listen),
    advertiseAddr: formatHostPort(advertise),
    dataPathAddr: resolveDataPathAddr(request.dataPathAddr, machine),
    dataPathPort: dataPathPort(request.dataPathPort),
  };
}

/** As `initState`, for a node that goes to managers that are there. */
export async function joinState(request: JoinRequest, machine: HostAddresses): Promise<StartState> {
  const [remote] = request.remoteAddrs;
  if (remote === undefined || remote === "") {
    throw badRequest("at least 1 RemoteAddr is required to join");
  }
  const remoteAddr = remoteManager(remote);
  const listen = resolveListenAddr(request.listenAddr, machine);
  const local = isUnspecified(listen.host) ? await addressTowards(remoteAddr) : listen.host;
  const advertise =
    request.advertiseAddr === ""
      ? ""
      : formatHostPort(resolveAdvertiseAddr(request.advertiseAddr, listen.port, machine));
  return {
    localAddr: local,
    remoteAddr,
    listenAddr: formatHostPort(listen),
    advertiseAddr: advertise,
    dataPathAddr: resolveDataPathAddr(request.dataPathAddr, machine),
    dataPathPort: 0,
  };
}

/** "host:port" of a manager that an operator names, the port by default. */
export function remoteManager(address: string): string {
  const target = splitHostPort(address);
  if (target === undefined || target.host === "") {
    throw badRequest(`invalid remoteAddr ${JSON.stringify(address)}: invalid address`);
  }
  return formatHostPort({ host: target.host, port: target.port ?? DEFAULT_PORT });
}

export function nodeAddress(start: StartState): string {
  const advertised = splitHostPort(start.advertiseAddr)?.host ?? "";
  return advertised === "" ? start.localAddr : advertised;
}

export function managerAddresses(start: StartState): ManagerAddresses {
  const listen = splitHostPort(start.listenAddr);
  const listenPort = listen?.port ?? DEFAULT_PORT;
  return {
    listenHost: listen?.host ?? "0.0.0.0",
    listenPort,
    advertise:
      start.advertiseAddr === ""
        ? formatHostPort({ host: start.localAddr, port: listenPort })
        : start.advertiseAddr,
  };
}
