/**
 * A machine that comes back with another address: what its node was told by the old one, said by the
 * new one. The node's key is what others know it by, so that it only has to tell them where it is. An
 * address that the machine never had itself (behind a NAT) is the operator's, and stays.
 */

import type { Remote } from "#agent/remotes.ts";
import {
  formatHostPort,
  type HostAddresses,
  resolveAdvertiseAddr,
  splitHostPort,
} from "./addresses.ts";
import { addressTowards } from "./host-addresses.ts";
import type { StartState } from "./start-state.ts";

/** The state itself where nothing has changed, or no new address is to be found. */
export async function movedState(
  state: StartState,
  managers: readonly Remote[],
  machine: HostAddresses,
): Promise<StartState> {
  const old = state.localAddr;
  const own = ownAddresses(machine);
  if (old === "" || own.has(old)) return state;
  const local = await newAddress(state, managers, machine);
  if (local === undefined) return state;
  const moved = (address: string) => {
    const parts = splitHostPort(address);
    if (parts === undefined || parts.host !== old) return address === old ? local : address;
    return parts.port === undefined ? local : formatHostPort({ host: local, port: parts.port });
  };
  return {
    ...state,
    localAddr: local,
    listenAddr: moved(state.listenAddr),
    advertiseAddr: moved(state.advertiseAddr),
    dataPathAddr: moved(state.dataPathAddr),
  };
}

async function newAddress(
  { localAddr }: StartState,
  managers: readonly Remote[],
  machine: HostAddresses,
): Promise<string | undefined> {
  const own = ownAddresses(machine);
  const others = managers.filter(({ addr }) => {
    const host = splitHostPort(addr)?.host;
    return host !== undefined && host !== localAddr && !own.has(host);
  });
  if (others.length > 0 && machine.defaultAdvertiseAddr === "") {
    for (const { addr } of others) {
      const address = await addressTowards(addr).catch(() => undefined);
      if (address !== undefined && own.has(address)) return address;
    }
    // No network yet: better the old address, which may come, than one that leads nowhere.
    return undefined;
  }
  try {
    return resolveAdvertiseAddr("", 0, machine).host;
  } catch {
    // There is more than one to choose from, and nothing to choose by.
    return undefined;
  }
}

function ownAddresses({ interfaces }: HostAddresses): ReadonlySet<string> {
  return new Set(
    Object.values(interfaces)
      .flat()
      .map(({ address }) => address),
  );
}
