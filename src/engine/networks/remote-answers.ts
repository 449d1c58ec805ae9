/**
 * What plug-ins answer about an endpoint, checked: names and addresses of theirs become parts of
 * commands and of what users are shown. Pure; what cannot be used is an `internal` error.
 */

import { EngineError } from "#base/error.ts";
import { parseIp, parsePrefix } from "#model/ip.ts";
import { canonicalAddress } from "./ipam.ts";
import type { EndpointRecord, RemoteEnd, RemoteRoute } from "./records.ts";
import { type RemoteAnswer, textIn } from "./remote-call.ts";

/** Names become parts of commands; the kernel takes 15 characters. */
const INTERFACE = /^[\w-][\w.-]{0,14}$/;
const MAC = /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i;
/** RouteType of a route on the link itself. */
const CONNECTED = 1;
const ROUTES_MAX = 1000;

/** A plug-in may choose what nobody has chosen yet, and nothing else. */
export function withAnswered(endpoint: EndpointRecord, answer: RemoteAnswer): EndpointRecord {
  const given = answer["Interface"];
  if (typeof given !== "object" || given === null) return endpoint;
  const text = (field: string) => textIn(given as RemoteAnswer, field);
  const choose = (what: string, before: string | undefined, field: string) => {
    const chosen = text(field);
    if (chosen === "") return before;
    if ((before ?? "") === "" || before === chosen) return chosen;
    throw new EngineError(
      "internal",
      `driver modified interface ${what}: it is ${before} and cannot be ${chosen}`,
    );
  };
  const ipv4 = choose("address", endpoint.ipv4, "Address");
  const ipv6 = choose("address", endpoint.ipv6, "AddressIPv6");
  const mac = choose("MAC address", endpoint.mac, "MacAddress") ?? "";
  for (const [address, family] of [
    [ipv4, 4],
    [ipv6, 6],
  ] as const) {
    if (address === undefined || parsePrefix(address)?.family === family) continue;
    throw new EngineError("internal", `the plugin gave no usable address: "${address}"`);
  }
  if (mac !== "" && !MAC.test(mac)) {
    throw new EngineError("internal", `the plugin gave no usable MAC address: "${mac}"`);
  }
  return {
    ...endpoint,
    ...(ipv4 === undefined ? {} : { ipv4 }),
    ...(ipv6 === undefined ? {} : { ipv6 }),
    mac: mac.toLowerCase(),
  };
}

/** What the answer to Join says of interface, routers and routes; `isTaken` is of the container. */
export function withJoin(
  endpoint: EndpointRecord,
  answer: RemoteAnswer,
  isTaken: (name: string) => boolean,
): EndpointRecord {
  const remote: RemoteEnd = { ...mustBeRemote(endpoint), stage: "joined" };
  const names = answer["InterfaceName"];
  const name = (field: string) =>
    typeof names === "object" && names !== null ? textIn(names as RemoteAnswer, field) : "";
  const source = name("SrcName");
  const gateway4 = routerOf(answer, "Gateway", 4);
  const gateway6 = routerOf(answer, "GatewayIPv6", 6);
  const joined = {
    ...endpoint,
    ...(gateway4 === undefined ? {} : { gateway4 }),
    ...(gateway6 === undefined ? {} : { gateway6 }),
  };
  // The plug-in has seen to everything inside the container itself.
  if (source === "") return { ...joined, interface: "", remote };
  const inner = name("DstName") || freeName(name("DstPrefix") || "eth", isTaken);
  for (const one of [source, inner]) {
    if (INTERFACE.test(one)) continue;
    throw new EngineError("internal", `the plugin named no usable interface: "${one}"`);
  }
  return { ...joined, interface: inner, remote: { ...remote, source, routes: routesOf(answer) } };
}

function freeName(prefix: string, isTaken: (name: string) => boolean): string {
  for (let index = 0; ; index += 1) {
    if (!isTaken(`${prefix}${index}`)) return `${prefix}${index}`;
  }
}

function routerOf(answer: RemoteAnswer, field: string, family: 4 | 6): string | undefined {
  const text = textIn(answer, field);
  if (text === "") return undefined;
  const address = canonicalAddress(text);
  if (address !== undefined && parseIp(text)?.family === family) return address;
  throw new EngineError("internal", `the plugin named no usable gateway: "${text}"`);
}

function routesOf(answer: RemoteAnswer): readonly RemoteRoute[] {
  const routes: unknown = answer["StaticRoutes"];
  if (!Array.isArray(routes)) return [];
  return routes.slice(0, ROUTES_MAX).map((route: unknown) => {
    const { Destination, RouteType, NextHop } = (route ?? {}) as RemoteAnswer;
    const destination = typeof Destination === "string" ? Destination : "";
    const nextHop = typeof NextHop === "string" && RouteType !== CONNECTED ? NextHop : "";
    const usable =
      parsePrefix(destination) !== undefined &&
      (RouteType === CONNECTED || parseIp(nextHop) !== undefined);
    if (!usable) {
      throw new EngineError(
        "internal",
        `the plugin named no usable route: ${JSON.stringify(route).slice(0, 200)}`,
      );
    }
    return { destination, ...(nextHop === "" ? {} : { nextHop }) };
  });
}

export function mustBeRemote({ remote, endpointId }: EndpointRecord): RemoteEnd {
  if (remote === undefined) throw new EngineError("internal", `${endpointId} is no plugin's`);
  return remote;
}
