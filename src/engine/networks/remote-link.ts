/** Interfaces that plug-ins make on the host, and containers have: as commands of `ip`. */

import type { EndpointRecord } from "./records.ts";

/** An interface that a plug-in made on the host goes into the container. */
export function takeCommands(
  { remote, interface: name, mac }: EndpointRecord,
  pid: number,
): string[] {
  if (remote?.source === undefined) return [];
  const { source } = remote;
  return [
    `link set dev ${source} down`,
    ...(mac === "" ? [] : [`link set dev ${source} address ${mac}`]),
    `link set dev ${source} netns ${pid} name ${name}`,
  ];
}

/** Back to the host under its own name, for the plug-in to find. */
export function giveBackCommands({ remote, interface: name }: EndpointRecord): string[] {
  if (remote?.source === undefined) return [];
  return [
    `link set dev ${name} down`,
    `link set dev ${name} netns ${process.pid} name ${remote.source}`,
  ];
}

/** Inside the container. */
export function routeCommands({ remote, interface: name }: EndpointRecord): string[] {
  return (remote?.routes ?? []).map(({ destination, nextHop }) => {
    const link = destination.includes(":") ? "" : " scope link";
    const way = nextHop === undefined ? `dev ${name}${link}` : `via ${nextHop} dev ${name}`;
    return `route replace ${destination} ${way}`;
  });
}
