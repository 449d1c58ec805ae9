/** Connections to an engine, by the scheme of its address. Nothing is opened before the first is asked for. */

import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { EngineError } from "#base/error.ts";
import type { Endpoint } from "./endpoint.ts";

export interface Dialer {
  dial(): Duplex;
  /** What the engine shall be called in HTTP. */
  readonly hostHeader: string;
  /** True where a connection costs less than keeping it. */
  readonly cheap: boolean;
}

export async function dialerOf({ host, tls }: Endpoint): Promise<Dialer> {
  const [scheme = "", rest = ""] = host.includes("://") ? host.split("://", 2) : ["tcp", host];
  switch (scheme) {
    case "unix":
      return { dial: () => connect(rest), hostHeader: "docker", cheap: true };
    case "ssh": {
      const { openSsh, sshTarget } = await import("./ssh.ts");
      const target = sshTarget(host);
      return { dial: () => openSsh(target), hostHeader: "docker", cheap: false };
    }
    case "tcp":
    case "http":
    case "https":
      break;
    default:
      throw new EngineError(
        "invalid-argument",
        `unable to parse docker host \`${host}\`: use unix://, tcp:// or ssh://`,
      );
  }
  const [name, given] = splitPort(rest);
  const port = given ?? (tls === undefined ? 2375 : 2376);
  if (tls === undefined) {
    return { dial: () => connect({ host: name, port }), hostHeader: name, cheap: false };
  }
  // Loading TLS takes longer than a whole command by the local socket.
  const { connect: connectTls } = await import("node:tls");
  const { skipVerify, ...pems } = tls;
  const options = { host: name, port, rejectUnauthorized: !skipVerify, ...pems };
  // With an address there is no server name to send.
  const servername = /^[\d.]+$|:/.test(name) ? {} : { servername: name };
  return {
    dial: () => connectTls({ ...options, ...servername }),
    hostHeader: name,
    cheap: false,
  };
}

function splitPort(authority: string): readonly [string, number?] {
  const match = /^(.*?)(?::(\d+))?\/?$/.exec(authority);
  const name = (match?.[1] ?? "").replace(/^\[(.*)\]$/, "$1");
  return match?.[2] === undefined ? [name] : [name, Number(match[2])];
}
