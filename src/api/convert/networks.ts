/** Networks of the swarm in the form of `/networks`, beside which the host's own ones stand. */

import { create } from "@bufbuild/protobuf";
import { isIngress } from "#model/network.ts";
import type { NetworkInspect } from "#wire/docker/networks.ts";
import type { Network } from "#wire/gen/swarmkit/objects_pb.js";
import { type NetworkSpec, NetworkSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import type { IPAMOptions } from "#wire/gen/swarmkit/types_pb.js";
import { annotationsFromJson } from "./common.ts";
import type { JsonObject } from "./read-json.ts";
import { compact, mapOrNone, textOrNone, timeText } from "./write-json.ts";

export function networkToJson(network: Network): NetworkInspect {
  const { spec, driverState } = network;
  const from = spec?.configFrom.case === "network" ? spec.configFrom.value : "";
  return {
    Name: spec?.annotations?.name ?? "",
    Id: network.id,
    Created: timeText(network.meta?.createdAt),
    Scope: "swarm",
    // Until the allocator has settled it, the driver is what was asked for.
    Driver: driverState?.name ?? spec?.driverConfig?.name ?? "",
    EnableIPv4: true,
    EnableIPv6: spec?.ipv6Enabled ?? false,
    IPAM: ipamToJson(network.ipam ?? spec?.ipam),
    Internal: spec?.internal ?? false,
    Attachable: spec?.attachable ?? false,
    Ingress: isIngress(network),
    ConfigFrom: { Network: from },
    ConfigOnly: false,
    Containers: {},
    Options: driverState?.options ?? spec?.driverConfig?.options ?? {},
    Labels: spec?.annotations?.labels ?? {},
  };
}

function ipamToJson(ipam: IPAMOptions | undefined): NetworkInspect["IPAM"] {
  const options = ipam?.driver?.options ?? {};
  return {
    Driver: ipam?.driver?.name ?? "default",
    Options: Object.keys(options).length === 0 ? null : options,
    Config: (ipam?.configs ?? []).map(({ subnet, range, gateway, reserved }) =>
      compact({
        Subnet: textOrNone(subnet),
        IPRange: textOrNone(range),
        Gateway: textOrNone(gateway),
        AuxiliaryAddresses: mapOrNone(reserved),
      }),
    ),
  };
}

/** A request to `/networks/create` as the spec of a swarm network. */
export function networkSpecFromJson(json: JsonObject): NetworkSpec {
  const ipam = json.object("IPAM");
  const from = json.since(30).object("ConfigFrom")?.text("Network") ?? "";
  return create(NetworkSpecSchema, {
    annotations: annotationsFromJson(json),
    driverConfig: { name: json.text("Driver"), options: json.map("Options") },
    ipv6Enabled: json.flag("EnableIPv6"),
    internal: json.flag("Internal"),
    attachable: json.since(25).flag("Attachable"),
    ingress: json.since(29).flag("Ingress"),
    ipam: ipam && {
      driver: { name: ipam.text("Driver") || "default", options: ipam.map("Options") },
      configs: ipam.objects("Config").map((pool) => ({
        subnet: pool.text("Subnet"),
        range: pool.text("IPRange"),
        gateway: pool.text("Gateway"),
        reserved: pool.map("AuxiliaryAddresses"),
      })),
    },
    configFrom: from === "" ? { case: undefined } : { case: "network", value: from },
  });
}
