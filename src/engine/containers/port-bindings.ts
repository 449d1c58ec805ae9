/** Ports that a container publishes, from the Engine API's bindings to requests for the network. */

import { EngineError } from "#base/error.ts";
import type { ContainerConfig, HostConfig, PortBinding } from "#wire/docker/containers.ts";
import type { PortRequest } from "../ports.ts";

/** "80", "80/tcp" → its parts; `invalid-argument` for anything else. */
export function parsePort(text: string): {
  readonly port: number;
  readonly protocol: PortRequest["protocol"];
} {
  const match = /^(\d{1,5})(?:\/([a-zA-Z]+))?$/.exec(text);
  const port = Number(match?.[1] ?? Number.NaN);
  const protocol = (match?.[2] ?? "tcp").toLowerCase();
  if (!(port >= 0 && port <= 65535)) {
    const specification = text.split("/")[0] ?? "";
    throw new EngineError("invalid-argument", `invalid port specification: "${specification}"`);
  }
  if (protocol !== "tcp" && protocol !== "udp" && protocol !== "sctp") {
    throw new EngineError("invalid-argument", `invalid protocol: ${protocol}`);
  }
  return { port, protocol };
}

/** Every port to publish: the bindings, and with PublishAllPorts the exposed ones besides. */
export function planPorts(config: ContainerConfig, hostConfig: HostConfig): PortRequest[] {
  const requests: PortRequest[] = [];
  const bound = new Set<string>();
  for (const [key, bindings] of Object.entries(hostConfig.PortBindings ?? {})) {
    const { port, protocol } = parsePort(key);
    bound.add(`${port}/${protocol}`);
    for (const binding of bindings ?? []) {
      requests.push({
        containerPort: port,
        protocol,
        hostIp: binding.HostIp ?? "",
        ...parseHostPort(binding),
      });
    }
    if ((bindings ?? []).length === 0) {
      requests.push({ containerPort: port, protocol, hostIp: "", hostPort: 0 });
    }
  }
  if (hostConfig.PublishAllPorts) {
    for (const key of Object.keys(config.ExposedPorts ?? {})) {
      const { port, protocol } = parsePort(key);
      if (bound.has(`${port}/${protocol}`)) continue;
      requests.push({ containerPort: port, protocol, hostIp: "", hostPort: 0 });
    }
  }
  return requests;
}

function parseHostPort(binding: PortBinding): { hostPort: number; hostPortEnd?: number } {
  const text = binding.HostPort ?? "";
  if (text === "") return { hostPort: 0 };
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  const first = Number(match?.[1] ?? Number.NaN);
  const last = match?.[2] === undefined ? first : Number(match[2]);
  if (!(first <= last && last <= 65535)) {
    throw new EngineError("invalid-argument", `invalid port specification: "${text}"`);
  }
  return last === first ? { hostPort: first } : { hostPort: first, hostPortEnd: last };
}
