/** Bodies of `/networks` requests in the form of this host's networks, each member with its type. */

import type {
  EndpointSettings,
  IpamPool,
  NetworkConnectBody,
  NetworkCreateBody,
  NetworkDisconnectBody,
} from "#wire/docker/networks.ts";
import type { JsonObject } from "./read-json.ts";
import { compact, listOrNone, mapOrNone, textOrNone } from "./write-json.ts";

export function networkCreateFromJson(json: JsonObject): NetworkCreateBody {
  const ipam = json.object("IPAM");
  const from = json.since(30).object("ConfigFrom")?.text("Network") ?? "";
  const ipv4 = json.optionalFlag("EnableIPv4");
  return {
    Name: json.text("Name"),
    Driver: json.text("Driver"),
    Scope: json.since(30).text("Scope"),
    Internal: json.flag("Internal"),
    Attachable: json.since(25).flag("Attachable"),
    Ingress: json.since(29).flag("Ingress"),
    ConfigOnly: json.since(30).flag("ConfigOnly"),
    ConfigFrom: { Network: from },
    ...(ipv4 === undefined ? {} : { EnableIPv4: ipv4 }),
    EnableIPv6: json.flag("EnableIPv6"),
    Options: json.map("Options"),
    Labels: json.map("Labels"),
    IPAM: {
      Driver: ipam?.text("Driver") ?? "",
      Options: ipam?.map("Options") ?? {},
      Config: (ipam?.objects("Config") ?? []).map(poolFromJson),
    },
  };
}

function poolFromJson(json: JsonObject): IpamPool {
  return compact({
    Subnet: textOrNone(json.text("Subnet")),
    IPRange: textOrNone(json.text("IPRange")),
    Gateway: textOrNone(json.text("Gateway")),
    AuxiliaryAddresses: mapOrNone(json.map("AuxiliaryAddresses")),
  });
}

export function connectFromJson(json: JsonObject): NetworkConnectBody {
  return {
    Container: json.text("Container"),
    EndpointConfig: endpointFromJson(json.part("EndpointConfig")),
  };
}

export function disconnectFromJson(json: JsonObject): NetworkDisconnectBody {
  return { Container: json.text("Container"), Force: json.flag("Force") };
}

/** What a user may choose of an endpoint; the rest of the type is what it got. */
function endpointFromJson(json: JsonObject): EndpointSettings {
  const ipam = json.object("IPAMConfig");
  const priority = json.int32("GwPriority");
  return {
    IPAMConfig:
      ipam === undefined
        ? null
        : compact({
            IPv4Address: textOrNone(ipam.text("IPv4Address")),
            IPv6Address: textOrNone(ipam.text("IPv6Address")),
            LinkLocalIPs: listOrNone(ipam.texts("LinkLocalIPs")),
          }),
    Links: listOrNone(json.texts("Links")) ?? null,
    Aliases: listOrNone(json.texts("Aliases")) ?? null,
    DriverOpts: mapOrNone(json.map("DriverOpts")) ?? null,
    ...compact({ MacAddress: textOrNone(json.text("MacAddress")) }),
    ...(priority === 0 ? {} : { GwPriority: priority }),
  };
}
