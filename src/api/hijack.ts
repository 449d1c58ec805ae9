/**
 * Taking a connection over from the HTTP server, for attach, exec and interactive streams. There is
 * deliberately no 'upgrade' listener on the server: with one, Node 20 to 24 hand the request's body
 * over in `head` and Node 26 on `req`; without one, the request is an ordinary one on all of them,
 * and the socket can be taken after its body was read.
 *
 * Clients send nothing before they have read the 101 (or 200) line; bytes in the same packet as the
 * request would be lost to the HTTP parser.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";

export interface HijackHeaders {
  readonly contentType: string;
  /** Agrees to another protocol than the raw stream, with these headers of its handshake. */
  readonly upgrade?: Readonly<Record<string, string>> | undefined;
  readonly headers: Readonly<Record<string, string>>;
}

/** Answers 101 when the client asked for an upgrade, else 200, and hands the raw socket over. */
export function hijackConnection(
  request: IncomingMessage,
  response: ServerResponse,
  head: HijackHeaders,
): Duplex {
  const socket = request.socket;
  response.detachSocket(socket);
  // The server's own listeners would parse user bytes as requests and end a half-closed socket.
  // One by one: newer Nodes keep count of who listens for data, and removeAllListeners does not.
  for (const event of ["data", "end", "error", "timeout", "drain"]) {
    for (const listener of socket.rawListeners(event)) {
      socket.off(event, listener as () => void);
    }
  }
  socket.on("error", () => socket.destroy());
  // Until somebody listens for input, Node reads the handle straight into its HTTP parser, and what a
  // client sends before the route reads is lost there. A listener, even for a moment, ends that; the
  // pause keeps the still flowing socket from dropping what comes until the route listens.
  const listening = () => undefined;
  socket.on("readable", listening);
  socket.pause();
  socket.off("readable", listening);
  socket.setTimeout(0);
  socket.setNoDelay(true);
  const headers = { ...answerHeaders(request, head), ...head.headers };
  const status = "Upgrade" in headers ? "101 UPGRADED" : "200 OK";
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`HTTP/1.1 ${status}\r\n${lines.join("")}\r\n`);
  return socket;
}

function answerHeaders(request: IncomingMessage, head: HijackHeaders): Record<string, string> {
  if (head.upgrade !== undefined) return { Connection: "Upgrade", ...head.upgrade };
  const type = { "Content-Type": head.contentType };
  const upgrade = request.headers.upgrade !== undefined;
  return upgrade ? { Connection: "Upgrade", Upgrade: "tcp", ...type } : type;
}
