/**
 * Which addresses of a node the routing mesh answers on. Docker's PortConfig has no field for it, so
 * that labels of the service say it: `skep.mesh.addresses` for all of its ports, with `.8080` or
 * `.8080/udp` behind it for one. The value is a list of addresses and CIDRs; each node answers on
 * those of its own addresses that are in the list.
 */

import { err, ok, type Result } from "#base/result.ts";
import { type Prefix, parseIp, parsePrefix, prefixContains } from "./ip.ts";

export const MESH_ADDRESSES_LABEL = "skep.mesh.addresses";

/** More would make rules that nobody can read. */
const ADDRESSES_MAX = 64;
const PORT_SUFFIX = /^\.(\d{1,5})(?:\/(tcp|udp|sctp))?$/;

/** "10.0.0.0/8, 192.0.2.7" as CIDRs, without those that others contain. */
export function parseMeshAddresses(text: string): Result<readonly string[]> {
  const parts = text.split(",").map((part) => part.trim());
  if (parts.length > ADDRESSES_MAX) return err(`more than ${ADDRESSES_MAX} addresses`);
  const found: { readonly text: string; readonly prefix: Prefix }[] = [];
  for (const part of parts) {
    const cidr = part.includes("/") ? part : `${part}/${parseIp(part)?.family === 6 ? 128 : 32}`;
    const prefix = parsePrefix(cidr);
    if (prefix === undefined) return err(`"${part}" is neither an address nor a CIDR`);
    found.push({ text: cidr, prefix });
  }
  const kept = found.filter(
    ({ prefix }, at) =>
      !found.some(
        (other, otherAt) =>
          otherAt !== at &&
          prefixContains(other.prefix, prefix) &&
          (other.prefix.length < prefix.length ||
            (other.prefix.length === prefix.length && otherAt < at)),
      ),
  );
  return ok(kept.map(({ text: cidr }) => cidr));
}

/** Where the port answers by the service's labels; empty where they do not say. */
export function meshAddressesOf(
  labels: Readonly<Record<string, string>>,
  protocol: string,
  port: number,
): readonly string[] {
  const text =
    labels[`${MESH_ADDRESSES_LABEL}.${port}/${protocol}`] ??
    labels[`${MESH_ADDRESSES_LABEL}.${port}`] ??
    labels[MESH_ADDRESSES_LABEL];
  if (text === undefined) return [];
  const parsed = parseMeshAddresses(text);
  return parsed.ok ? parsed.value : [];
}

/** What is wrong with such labels; undefined when nothing is. */
export function meshLabelProblem(labels: Readonly<Record<string, string>>): string | undefined {
  for (const [label, text] of Object.entries(labels)) {
    if (!label.startsWith(MESH_ADDRESSES_LABEL)) continue;
    const suffix = label.slice(MESH_ADDRESSES_LABEL.length);
    if (suffix !== "" && !PORT_SUFFIX.test(suffix)) {
      return `label ${label}: what follows "${MESH_ADDRESSES_LABEL}" must be ".PORT" or ".PORT/PROTOCOL"`;
    }
    const parsed = parseMeshAddresses(text);
    if (!parsed.ok) return `label ${label}: ${parsed.error}`;
  }
  return undefined;
}
