/**
 * Connections that must not go on after a change of the plan. UDP knows no end: a flow would keep its
 * old way for as long as it is used, so it is cut when its backend leaves the balance. TCP ends by
 * itself while the backend lives; it is cut only when the task is gone, or when nobody has answered
 * yet: a first packet that was lost is sent again, and must find its way anew.
 */

import type { KernelPlan } from "./kernel.ts";
import { portKey } from "./mesh.ts";

export interface LostFlow {
  /** Undefined = of the host itself. */
  readonly containerId: string | undefined;
  /** Undefined = every protocol that was rewritten. */
  readonly protocol: "udp" | "tcp" | "sctp" | undefined;
  /** Only those to which nobody has answered. */
  readonly halfOpen?: true;
  /** What was connected to; undefined = anything. */
  readonly virtual: { readonly address: string } | { readonly port: number } | undefined;
  /** Address of the task that answered. */
  readonly backend: string;
}

export function lostFlows(before: KernelPlan, after: KernelPlan): readonly LostFlow[] {
  return [
    ...goneTasks(before, after),
    ...withdrawnInside(before, after),
    ...withdrawn(before, after),
  ];
}

function goneTasks(before: KernelPlan, after: KernelPlan): readonly LostFlow[] {
  const lost: LostFlow[] = [];
  for (const [networkId, tasks] of before.tasks) {
    const left = after.tasks.get(networkId);
    const gone = [...tasks].flatMap(([taskId, own]) => (left?.has(taskId) === true ? [] : own));
    if (gone.length === 0) continue;
    const members = [...after.containers].filter(([, { networks }]) =>
      networks.includes(networkId),
    );
    for (const containerId of [undefined, ...members.map(([id]) => id)]) {
      for (const backend of gone) {
        lost.push({ containerId, protocol: undefined, virtual: undefined, backend });
      }
    }
  }
  return lost;
}

function withdrawnInside(before: KernelPlan, after: KernelPlan): readonly LostFlow[] {
  const lost: LostFlow[] = [];
  for (const [containerId, { balances }] of before.containers) {
    const now = after.containers.get(containerId)?.balances;
    if (now === undefined || now === balances) continue;
    const backends = new Map(now.map((balance) => [balance.vip, new Set(balance.backends)]));
    for (const { vip, backends: had } of balances) {
      for (const backend of had) {
        if (backends.get(vip)?.has(backend) === true) continue;
        const virtual = { address: vip };
        lost.push({ containerId, protocol: "udp", virtual, backend });
        lost.push({ containerId, protocol: "tcp", halfOpen: true, virtual, backend });
      }
    }
  }
  return lost;
}

function withdrawn(before: KernelPlan, after: KernelPlan): readonly LostFlow[] {
  const now = new Map(after.meshPorts.map((port) => [portKey(port), new Set(port.backends)]));
  return before.meshPorts
    .filter(({ protocol }) => protocol !== "sctp")
    .flatMap(({ protocol, port, backends }) =>
      backends
        .filter((backend) => now.get(portKey({ protocol, port }))?.has(backend) !== true)
        .map((backend) => ({
          containerId: undefined,
          protocol,
          ...(protocol === "tcp" ? { halfOpen: true as const } : {}),
          virtual: { port },
          backend,
        })),
    );
}
