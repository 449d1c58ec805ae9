/**
 * How many connections from outside a container still has, as its kernel tells in
 * `/proc/PID/net/tcp` and `tcp6` (Documentation/networking/proc_net_tcp.rst of Linux). Inbound is a
 * connection whose local port somebody listens on; what stays within the container, such as its own
 * health check, does not count. UDP has no connections.
 */

const ESTABLISHED = "01";
const SYN_RECEIVED = "03";
const LISTEN = "0A";

interface Socket {
  /** As the kernel prints it: hex, in the byte order of the machine. */
  readonly address: string;
  readonly port: string;
  readonly state: string;
}

/** Connections in the text of both files. */
export function inboundConnections(tcp: string, tcp6: string): number {
  const sockets = [...socketsIn(tcp), ...socketsIn(tcp6)];
  const listening = new Set(
    sockets.filter(({ state }) => state === LISTEN).map(({ port }) => port),
  );
  let count = 0;
  for (const { address, port, state } of sockets) {
    if (state !== ESTABLISHED && state !== SYN_RECEIVED) continue;
    if (listening.has(port) && !isLoopback(address)) count += 1;
  }
  return count;
}

function socketsIn(text: string): Socket[] {
  const sockets: Socket[] = [];
  for (const line of text.split("\n").slice(1)) {
    const [, local = "", , state = ""] = line.trim().split(/\s+/);
    const [address = "", port = ""] = local.split(":");
    if (port !== "") sockets.push({ address, port, state });
  }
  return sockets;
}

/** 127.0.0.0/8, also inside IPv6, and ::1; each 32-bit word is little-endian. */
function isLoopback(address: string): boolean {
  if (address.length === 8) return address.endsWith("7F");
  if (address === "00000000000000000000000001000000") return true;
  return address.startsWith("0000000000000000FFFF0000") && address.endsWith("7F");
}
