/** A container as the cluster sees it: its id and exit code, and what its ports were bound to. Pure. */

import { create } from "@bufbuild/protobuf";
import type { ContainerInspect } from "#wire/docker/containers.ts";
import {
  type ContainerStatus,
  ContainerStatusSchema,
  type PortConfig,
  PortConfigSchema,
  type PortStatus,
  PortStatusSchema,
  PortConfig_Protocol as Protocol,
  PortConfig_PublishMode as PublishMode,
} from "#wire/gen/swarmkit/types_pb.js";

const PROTOCOLS: ReadonlyMap<string, Protocol> = new Map([
  ["tcp", Protocol.TCP],
  ["udp", Protocol.UDP],
  ["sctp", Protocol.SCTP],
]);

export function containerStatusOf({ Id, State }: ContainerInspect): ContainerStatus {
  return create(ContainerStatusSchema, {
    containerId: Id,
    pid: State.Pid,
    exitCode: State.ExitCode,
  });
}

/** Each port once, though it may be bound for IPv4 and IPv6. */
export function portStatusOf({ NetworkSettings }: ContainerInspect): PortStatus {
  const ports = new Map<string, PortConfig>();
  for (const [key, bindings] of Object.entries(NetworkSettings.Ports ?? {})) {
    const [target, protocolName = "tcp"] = key.split("/");
    const protocol = PROTOCOLS.get(protocolName);
    if (protocol === undefined) continue;
    for (const { HostPort } of bindings ?? []) {
      ports.set(
        `${key} ${HostPort}`,
        create(PortConfigSchema, {
          protocol,
          targetPort: Number(target),
          publishedPort: Number(HostPort),
          publishMode: PublishMode.HOST,
        }),
      );
    }
  }
  return create(PortStatusSchema, { ports: [...ports.values()] });
}
