/** Routes and rules of ours against those that are there, as commands. Pure. */

import type { Route, Rule } from "#plan/dataplane/kernel.ts";
import type { DumpedRoute, DumpedRouting, DumpedRule } from "#platform/net/dump.ts";

/** The origin that our routes and rules carry; nobody else's are looked at. */
export const ROUTE_PROTOCOL = 115;
/** Before the main table, and before rules that others put at the usual places. */
export const RULE_PRIORITY = 5115;

export interface Commands {
  /** For `ip`, in order. */
  readonly ip: string[];
  /** For `ip -6`: rules of that family. */
  readonly ip6: string[];
  readonly bridge: string[];
}

export interface Changes {
  /** Before anybody is sent there. */
  readonly add: Commands;
  /** When nobody is sent there any more. */
  readonly remove: Commands;
}

export function noChanges(): Changes {
  const none = () => ({ ip: [], ip6: [], bridge: [] });
  return { add: none(), remove: none() };
}

export function countOf({ add, remove }: Changes): number {
  const count = ({ ip, ip6, bridge }: Commands) => ip.length + ip6.length + bridge.length;
  return count(add) + count(remove);
}

export function diffRouting(
  routes: readonly Route[],
  rules: readonly Rule[],
  found: DumpedRouting,
  changes: Changes,
): void {
  diffRoutes(routes, found.routes, changes);
  diffRules(rules, found.rules, changes);
}

function diffRoutes(
  routes: readonly Route[],
  found: readonly DumpedRoute[],
  { add, remove }: Changes,
): void {
  const there = new Map(found.map((route) => [dumpedKey(route), dumpedValue(route)]));
  const wanted = new Map(routes.map((route) => [routeKey(route), route]));
  for (const [key, route] of wanted) {
    if (there.get(key) !== routeValue(route)) add.ip.push(`route replace ${routeText(route)}`);
  }
  for (const route of found) {
    if (wanted.has(dumpedKey(route))) continue;
    const { dst, dev, table } = route;
    const device = dev === undefined ? "" : ` dev ${dev}`;
    const family = isSix(route) && dst === "default" ? "-6 " : "";
    const command = `route del ${dst}${device} table ${table} proto ${ROUTE_PROTOCOL}`;
    (family === "" ? remove.ip : remove.ip6).push(command);
  }
}

function isSix({ dst, gateway }: DumpedRoute): boolean {
  return (dst === "default" ? (gateway ?? "") : dst).includes(":");
}

/** A default route of each family may stand in one table. */
function routeKey({ dst, via, dev, table }: Route): string {
  const six = dst === "default" && (via ?? "").includes(":");
  return `${table ?? "main"} ${six ? "default6" : dst} ${dev}`;
}

function dumpedKey(route: DumpedRoute): string {
  const six = route.dst === "default" && isSix(route);
  return `${route.table} ${six ? "default6" : route.dst} ${route.dev ?? ""}`;
}

function routeValue({ via, src }: Route): string {
  return `${via ?? ""} ${src ?? ""}`;
}

function dumpedValue({ gateway, prefsrc }: DumpedRoute): string {
  return `${gateway ?? ""} ${prefsrc ?? ""}`;
}

function routeText({ dst, dev, via, src, table }: Route): string {
  const gateway = via === undefined ? "" : ` via ${via}`;
  const options = [
    ...(via === undefined ? [] : ["onlink"]),
    ...(src === undefined ? [] : [`src ${src}`]),
    ...(table === undefined ? [] : [`table ${table}`]),
  ];
  return [`${dst}${gateway} dev ${dev}`, ...options, `proto ${ROUTE_PROTOCOL}`].join(" ");
}

function diffRules(
  rules: readonly Rule[],
  found: readonly DumpedRule[],
  { add, remove }: Changes,
): void {
  const wanted = new Set(rules.map(ruleText));
  const there = new Set<string>();
  for (const rule of found) {
    const text = dumpedRule(rule);
    if (wanted.has(text) && !there.has(text)) there.add(text);
    else into(remove, rule.family).push(`rule del ${text.slice(2)}`);
  }
  for (const rule of rules) {
    if (!there.has(ruleText(rule)))
      into(add, rule.family).push(`rule add ${ruleText(rule).slice(2)}`);
  }
}

function into(commands: Commands, family: 4 | 6): string[] {
  return family === 6 ? commands.ip6 : commands.ip;
}

function ruleText({ family, table, match }: Rule): string {
  const which =
    "from" in match
      ? `from ${match.from}`
      : `from all fwmark 0x${match.mark.toString(16)} iif ${match.iif}`;
  return `${family} pref ${RULE_PRIORITY} ${which} lookup ${table} protocol ${ROUTE_PROTOCOL}`;
}

function dumpedRule({ family, priority, src, fwmark, iif, table }: DumpedRule): string {
  const mark = fwmark === undefined ? "" : ` fwmark ${fwmark}`;
  const device = iif === undefined ? "" : ` iif ${iif}`;
  return `${family} pref ${priority} from ${src}${mark}${device} lookup ${table} protocol ${ROUTE_PROTOCOL}`;
}
