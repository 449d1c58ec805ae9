/**
 * Networks of the swarm for containers that are no tasks: the managers lend an address when such a
 * container starts, and get it back when it has left. Tasks of services bring theirs with them.
 */

import { messageOf } from "#base/error.ts";
import type { EndpointSettings } from "#wire/docker/networks.ts";
import type { EndpointOwner } from "./endpoint-plan.ts";
import { LocalNetwork } from "./network.ts";
import type { EndpointRecord } from "./records.ts";
import { type Given, releaseHeld, requestAddresses } from "./remote-ipam.ts";
import { findHosted, findLocal, findOrNone, type NetworkState, notFound } from "./state.ts";

export interface Loan {
  /** Names the loan to the managers. */
  readonly id: string;
  readonly networkId: string;
  /** With prefix length. */
  readonly addresses: readonly string[];
}

export interface NetworkLender {
  /** Whether this host is in a swarm whose managers could know the network. */
  isActive(): boolean;
  /** Resolves when the network is on this host and the address is the container's. */
  lend(containerId: string, reference: string, settings: EndpointSettings): Promise<Loan>;
  /** The container is off the network. Never rejects: managers that are away hear of it later. */
  giveBack(loanId: string): void;
}

type Borrower = Pick<EndpointOwner, "containerId" | "containerName">;

/** What a request became: the settings as they shall be, and the loan that they rest on. */
export interface Borrowed {
  readonly settings: EndpointSettings;
  readonly loan?: string;
  /** Addresses that a plug-in gave. */
  readonly given?: Given | undefined;
}

/** Takes a loan for what is no network of this host, and addresses from a plug-in that gives them. */
export async function borrow(
  state: NetworkState,
  { containerId, containerName }: Borrower,
  reference: string,
  settings: EndpointSettings,
): Promise<Borrowed> {
  if (isGiven(settings) || findLocal(state, reference) !== undefined) {
    const network = findOrNone(state, reference, settings.NetworkID);
    if (!(network instanceof LocalNetwork)) return { settings };
    return { settings, given: await requestAddresses(state, network.record, settings) };
  }
  const { lender } = state;
  if (lender === undefined || !lender.isActive()) {
    // Hosted by somebody who is no swarm of ours: the address is theirs to bring.
    if (findHosted(state, reference) !== undefined) return { settings };
    throw notFound(reference);
  }
  // Other nodes know the container by what the managers are told: its own name is the first.
  const names = [...new Set([containerName, ...(settings.Aliases ?? [])])];
  const loan = await lender.lend(containerId, reference, { ...settings, Aliases: names });
  const [v4, v6] = [false, true].map((six) =>
    loan.addresses.find((address) => address.includes(":") === six),
  );
  return {
    loan: loan.id,
    settings: {
      ...settings,
      NetworkID: loan.networkId,
      IPAMConfig: {
        ...settings.IPAMConfig,
        ...(v4 === undefined ? {} : { IPv4Address: v4 }),
        ...(v6 === undefined ? {} : { IPv6Address: v6 }),
      },
    },
  };
}

/** A task's endpoint comes with its network and its address. */
function isGiven({ NetworkID, IPAMConfig }: EndpointSettings): boolean {
  const address = IPAMConfig?.IPv4Address ?? IPAMConfig?.IPv6Address ?? "";
  return (NetworkID ?? "") !== "" && address !== "";
}

/** All of a container's networks, or none: what was lent for a start that fails goes back. */
export async function borrowAll(
  state: NetworkState,
  owner: Borrower,
  requested: Readonly<Record<string, EndpointSettings>>,
): Promise<ReadonlyMap<string, Borrowed>> {
  const borrowed = new Map<string, Borrowed>();
  try {
    for (const [reference, settings] of Object.entries(requested)) {
      borrowed.set(reference, await borrow(state, owner, reference, settings));
    }
    return borrowed;
  } catch (error) {
    await returnBorrowed(state, [...borrowed.values()]);
    throw error;
  }
}

/** What no endpoint came to hold. */
export async function returnBorrowed(
  state: NetworkState,
  borrowed: readonly Borrowed[],
): Promise<void> {
  returnLoans(state, borrowed);
  await releaseHeld(
    state,
    borrowed.flatMap(({ given }) => given ?? []),
  );
}

export function returnLoans(
  state: NetworkState,
  holders: readonly Pick<EndpointRecord, "loan">[],
): void {
  for (const { loan } of holders) {
    if (loan === undefined) continue;
    try {
      state.lender?.giveBack(loan);
    } catch (error) {
      state.log.error("an address of the swarm was not given back", {
        loan,
        reason: messageOf(error),
      });
    }
  }
}
