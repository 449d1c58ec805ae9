/** Names of published ports' protocols, as nftables and docker write them. */

import { PortConfig_Protocol as Protocol } from "#wire/gen/swarmkit/types_pb.js";

export type ProtocolName = "tcp" | "udp" | "sctp";

export function protocolName(protocol: Protocol): ProtocolName {
  if (protocol === Protocol.UDP) return "udp";
  return protocol === Protocol.SCTP ? "sctp" : "tcp";
}
