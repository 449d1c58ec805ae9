/**
 * How many connections from outside a container still has, as its kernel tells in
 * `/proc/PID/net/tcp` and `tcp6` (Documentation/networking/proc_net_tcp.rst of Linux). Inbound is a
 * connection whose local port somebody listens on; what stays within the container, such as its own
 * health check, does not count. UDP has no connections.
 *
 * One that the container has closed counts until the kernel has delivered all of it: the rest of an
 * answer dies with the network namespace. CLOSE_WAIT does not count, because programs that forget to
 * close what their clients have left stay in it for ever.
 */

/** ESTABLISHED, SYN_RECV; FIN_WAIT1, LAST_ACK, CLOSING: our FIN, and maybe data, is not acknowledged. */
const OPEN: ReadonlySet<string> = new Set(["01", "03", "04", "09", "0B"]);
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
    if (OPEN.has(state) && listening.has(port) && !isLoopback(address)) count += 1;
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
