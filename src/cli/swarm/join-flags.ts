/** How a node that comes into a swarm, or begins one, says where it is. */

import type { FlagSpec } from "../pflag.ts";

export const JOIN_FLAGS: readonly FlagSpec[] = [
  {
    name: "advertise-addr",
    kind: "string",
    usage: "Advertised address (format: <ip|interface>[:port])",
  },
  {
    name: "listen-addr",
    kind: "string",
    usage: "Listen address (format: <ip|interface>[:port])",
    defaultText: "0.0.0.0:2377",
  },
  {
    name: "data-path-addr",
    kind: "string",
    usage: "Address or interface to use for data path traffic",
  },
  {
    name: "availability",
    kind: "string",
    usage: 'Availability of the node ("active", "pause", "drain")',
    defaultText: '"active"',
  },
];
