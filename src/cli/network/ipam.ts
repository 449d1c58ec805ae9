/**
 * `--subnet`, `--ip-range`, `--gateway`, `--aux-address`: each of the latter three belongs to the
 * subnet that contains it. Pure; refusals are docker's.
 */

import { EngineError } from "#base/error.ts";
import { type Prefix, parseIp, parsePrefix, prefixContains } from "#model/ip.ts";
import type { IpamPool } from "#wire/docker/networks.ts";

export interface IpamFlags {
  readonly subnets: readonly string[];
  readonly ranges: readonly string[];
  readonly gateways: readonly string[];
  /** Name to address. */
  readonly auxiliary: Readonly<Record<string, string>>;
}

interface Pool {
  readonly text: string;
  readonly prefix: Prefix;
  range?: string;
  gateway?: string;
  readonly auxiliary: Record<string, string>;
}

export function ipamPools(flags: IpamFlags): readonly IpamPool[] {
  const { subnets, ranges, gateways, auxiliary } = flags;
  if (subnets.length < ranges.length || subnets.length < gateways.length) {
    throw refusal("every ip-range or gateway must have a corresponding subnet");
  }
  const pools: Pool[] = [];
  for (const text of subnets) {
    const prefix = parsePrefix(text);
    if (prefix === undefined) throw refusal(`invalid CIDR address: ${text}`);
    if (pools.some((other) => overlap(other.prefix, prefix))) {
      throw refusal("multiple overlapping subnet configuration is not supported");
    }
    pools.push({ text, prefix, auxiliary: {} });
  }
  for (const range of ranges) assignRange(pools, range);
  for (const gateway of gateways) assignGateway(pools, gateway);
  for (const [name, address] of Object.entries(auxiliary)) {
    const pool = poolOf(pools, address);
    if (pool === undefined) throw refusal(`no matching subnet for aux-address ${address}`);
    pool.auxiliary[name] = address;
  }
  return pools.map(({ text, range, gateway, auxiliary: names }) => ({
    Subnet: text,
    ...(range === undefined ? {} : { IPRange: range }),
    ...(gateway === undefined ? {} : { Gateway: gateway }),
    ...(Object.keys(names).length === 0 ? {} : { AuxiliaryAddresses: names }),
  }));
}

function assignRange(pools: readonly Pool[], range: string): void {
  const pool = poolOf(pools, range.split("/")[0] ?? "");
  if (pool === undefined) throw refusal(`no matching subnet for range ${range}`);
  if (pool.range !== undefined) {
    throw refusal(
      `cannot configure multiple ranges (${range}, ${pool.range}) on the same subnet (${pool.text})`,
    );
  }
  pool.range = range;
}

function assignGateway(pools: readonly Pool[], gateway: string): void {
  const pool = poolOf(pools, gateway);
  if (pool === undefined) throw refusal(`no matching subnet for gateway ${gateway}`);
  if (pool.gateway !== undefined) {
    throw refusal(
      `cannot configure multiple gateways (${gateway}, ${pool.gateway}) for the same subnet (${pool.text})`,
    );
  }
  pool.gateway = gateway;
}

function poolOf(pools: readonly Pool[], address: string): Pool | undefined {
  const ip = parseIp(address);
  return ip === undefined ? undefined : pools.find(({ prefix }) => prefixContains(prefix, ip));
}

function overlap(a: Prefix, b: Prefix): boolean {
  return a.length <= b.length ? prefixContains(a, b) : prefixContains(b, a);
}

function refusal(message: string): EngineError {
  return new EngineError("invalid-argument", message);
}
