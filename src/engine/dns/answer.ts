/**
 * Which questions are ours to answer, pure: names and addresses on the asking container's networks.
 * A name that is ours is never asked of anybody else, whatever the type; everything else is.
 */

import { parseIp } from "#model/ip.ts";
import { canonicalAddress } from "../networks/ipam.ts";
import type { NameSource } from "./names.ts";

/** What decides about a container's questions besides the names there are. */
export interface Asker {
  /** In the order that they are searched. */
  readonly networks: readonly { readonly id: string; readonly name: string }[];
  /** Lower-case names that this container alone has for others: `--link other:name`. */
  readonly links: ReadonlyMap<string, string>;
}

export type Verdict =
  | {
      readonly kind: "addresses";
      readonly type: "A" | "AAAA";
      readonly addresses: readonly string[];
    }
  | { readonly kind: "pointer"; readonly name: string }
  /** The name is ours and has nothing of this type. */
  | { readonly kind: "nothing" }
  | { readonly kind: "forward" };

const FORWARD: Verdict = { kind: "forward" };

/** `turn` tells which address comes first, so that clients who take the first spread. */
export function answerQuestion(
  question: { readonly name: string; readonly type: string },
  asker: Asker,
  source: NameSource,
  turn: number,
): Verdict {
  const name = question.name.toLowerCase();
  if (question.type === "PTR") {
    const address = addressOfReverse(name);
    return address === undefined ? FORWARD : answerReverse(address, asker, source);
  }
  for (const [networkId, wanted] of candidates(asker.links.get(name) ?? name, asker)) {
    const four = source.lookup(networkId, wanted, 4);
    const six = source.lookup(networkId, wanted, 6);
    if (four === undefined && six === undefined) continue;
    if (question.type === "A") return addresses("A", four ?? [], turn);
    if (question.type === "AAAA") return addresses("AAAA", six ?? [], turn);
    return { kind: "nothing" };
  }
  return FORWARD;
}

/** The name on every network, then "name.network" on that one; both may contain dots. */
function* candidates(name: string, { networks }: Asker): Iterable<readonly [string, string]> {
  if (name === "") return;
  for (const { id } of networks) yield [id, name];
  for (const network of networks) {
    const suffix = `.${network.name.toLowerCase()}`;
    if (name.length > suffix.length && name.endsWith(suffix)) {
      yield [network.id, name.slice(0, -suffix.length)];
    }
  }
}

function addresses(type: "A" | "AAAA", all: readonly string[], turn: number): Verdict {
  if (all.length === 0) return { kind: "nothing" };
  const first = turn % all.length;
  return { kind: "addresses", type, addresses: [...all.slice(first), ...all.slice(0, first)] };
}

function answerReverse(address: string, { networks }: Asker, source: NameSource): Verdict {
  for (const { id, name: network } of networks) {
    const name = source.reverse(id, address);
    if (name !== undefined) return { kind: "pointer", name: `${name}.${network}` };
  }
  return FORWARD;
}

/** The address that "4.3.2.10.in-addr.arpa" and its sister of IPv6 ask about. */
export function addressOfReverse(name: string): string | undefined {
  const four = /^((?:\d{1,3}\.){4})in-addr\.arpa$/.exec(name)?.[1];
  if (four !== undefined) {
    const text = four.slice(0, -1).split(".").reverse().join(".");
    return parseIp(text) === undefined ? undefined : text;
  }
  const six = /^((?:[0-9a-f]\.){32})ip6\.arpa$/.exec(name)?.[1];
  if (six === undefined) return undefined;
  const digits = six.replaceAll(".", "").split("").reverse().join("");
  return canonicalAddress(digits.replace(/(....)(?=.)/g, "$1:"));
}
