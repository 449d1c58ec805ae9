/**
 * What the kernel of each host must hold of the swarm's networks, told from what a manager's API says,
 * and what it does hold, read with the programs that an operator would use. Written apart from the
 * engine's own planner: the two must agree.
 */

import type { Service } from "#wire/docker/services.ts";
import type { Lab } from "./lab.ts";

/** Sorted lines by what they are of: "mesh tcp/8080", "ov-…: forwarding". */
export type State = ReadonlyMap<string, readonly string[]>;

interface NetworkTask {
  readonly ID: string;
  readonly ServiceID?: string;
  readonly NodeID?: string;
  readonly DesiredState: string;
  readonly Status: {
    readonly State: string;
    readonly ContainerStatus?: { readonly ContainerID: string };
  };
  readonly NetworksAttachments?: readonly {
    readonly Network: {
      readonly ID: string;
      readonly Spec: { readonly Name: string };
      readonly DriverState?: { readonly Name?: string };
    };
    readonly Addresses?: readonly string[];
  }[];
}

interface Swarm {
  readonly tasks: readonly NetworkTask[];
  readonly services: readonly Service[];
  /** Host by node id. */
  readonly hosts: ReadonlyMap<string, string>;
  readonly ingress: string;
}

/** An end on a network: a task, or a host's own. */
interface End {
  readonly host: string;
  readonly address: string;
}

const deviceId = (networkId: string) => networkId.slice(0, 12);

export async function readSwarm(lab: Lab, manager: string): Promise<Swarm> {
  const [tasks, services, nodes, networks] = await Promise.all([
    lab.get<readonly NetworkTask[]>(manager, "/tasks"),
    lab.services(manager),
    lab.nodes(manager),
    lab.get<readonly { Id: string; Ingress: boolean }[]>(manager, "/networks"),
  ]);
  return {
    tasks: tasks.filter(({ Status }) => Status.State === "running"),
    services,
    hosts: new Map(nodes.map((node) => [node.ID, node.Description.Hostname])),
    ingress: networks.find(({ Ingress }) => Ingress)?.Id ?? "",
  };
}

/** By host. `gateways`: each host's own address by network, as its bridges have it. */
export function wantedStates(
  swarm: Swarm,
  gateways: ReadonlyMap<string, ReadonlyMap<string, string>>,
  addressOf: (host: string) => string,
): ReadonlyMap<string, State> {
  const ends = endsByNetwork(swarm);
  return new Map(
    [...gateways].map(([host, own]) => {
      const state = new Map<string, readonly string[]>();
      const served = [...ends]
        .filter(([id, list]) => id === swarm.ingress || list.some((end) => end.host === host))
        .map(([id]) => deviceId(id));
      if (!served.includes(deviceId(swarm.ingress))) served.push(deviceId(swarm.ingress));
      state.set("networks", served.toSorted());
      for (const id of served) {
        const tasks = [...ends].find(([networkId]) => deviceId(networkId) === id)?.[1] ?? [];
        const peers = [...gateways].flatMap(([other, theirs]) => {
          const address = theirs.get(id);
          return address === undefined ? [] : [{ host: other, address }];
        });
        const remote = [...tasks, ...peers].filter((end) => end.host !== host);
        state.set(
          `${id}: forwarding`,
          remote.map((end) => `${macOf(end.address)} ${addressOf(end.host)}`).toSorted(),
        );
        state.set(
          `${id}: neighbours`,
          remote.map(({ address }) => `${address} ${macOf(address)}`).toSorted(),
        );
        if (id !== deviceId(swarm.ingress)) continue;
        const away = tasks.filter((end) => end.host !== host);
        state.set(
          "routes to tasks",
          away
            .map((end) => `${end.address} via ${gateways.get(end.host)?.get(id) ?? "nobody"}`)
            .toSorted(),
        );
      }
      for (const [port, backends] of meshOf(swarm)) state.set(`mesh ${port}`, backends);
      for (const [name, lines] of containersOf(swarm, host)) state.set(name, lines);
      state.set("own networks", [...own.keys()].toSorted());
      return [host, state];
    }),
  );
}

function endsByNetwork({ tasks, hosts }: Swarm): ReadonlyMap<string, readonly End[]> {
  const found = new Map<string, End[]>();
  for (const task of tasks) {
    for (const { Network, Addresses = [] } of task.NetworksAttachments ?? []) {
      const list = found.get(Network.ID) ?? [];
      found.set(Network.ID, list);
      const host = hosts.get(task.NodeID ?? "") ?? "";
      for (const address of Addresses) list.push({ host, address: bare(address) });
    }
  }
  return found;
}

function meshOf({ services, tasks, ingress }: Swarm): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, readonly string[]>();
  for (const { ID, Endpoint } of services) {
    const backends = addressesOn(
      tasks.filter(({ ServiceID }) => ServiceID === ID),
      ingress,
    );
    for (const { Protocol, PublishedPort } of Endpoint.Ports ?? []) {
      if (backends.length > 0) found.set(`${Protocol ?? "tcp"}/${PublishedPort}`, backends);
    }
  }
  return found;
}

/** What each container of the host balances: virtual address → backends. */
function containersOf(swarm: Swarm, host: string): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, readonly string[]>();
  for (const task of swarm.tasks) {
    if (swarm.hosts.get(task.NodeID ?? "") !== host || task.ServiceID === undefined) continue;
    const on = (task.NetworksAttachments ?? []).map(({ Network }) => Network.ID);
    const lines = swarm.services.flatMap(({ ID, Endpoint }) =>
      (Endpoint.VirtualIPs ?? []).flatMap(({ NetworkID = "", Addr = "" }) => {
        if (!on.includes(NetworkID) || NetworkID === swarm.ingress) return [];
        const tasks = swarm.tasks.filter(({ ServiceID }) => ServiceID === ID);
        const backends = addressesOn(tasks, NetworkID);
        return backends.length === 0 ? [] : [`${bare(Addr)}: ${backends.join(" ")}`];
      }),
    );
    found.set(
      `balance of ${task.Status.ContainerStatus?.ContainerID ?? task.ID}`,
      lines.toSorted(),
    );
  }
  return found;
}

function addressesOn(tasks: readonly NetworkTask[], networkId: string): readonly string[] {
  return tasks
    .flatMap(({ NetworksAttachments = [] }) => NetworksAttachments)
    .filter(({ Network }) => Network.ID === networkId)
    .flatMap(({ Addresses = [] }) => Addresses.map(bare))
    .toSorted();
}

function bare(address: string): string {
  return address.split("/")[0] ?? address;
}

function macOf(address: string): string {
  const bytes = address.split(".").map((part) => Number(part).toString(16).padStart(2, "0"));
  return `02:42:${bytes.join(":")}`;
}

/** The host's own addresses by network. */
export async function gatewaysOf(lab: Lab, host: string): Promise<ReadonlyMap<string, string>> {
  const text = await lab.command("exec", host, "--", "ip", "-j", "-4", "addr", "show");
  const links = JSON.parse(text) as { ifname: string; addr_info: { local: string }[] }[];
  return new Map(
    links
      .filter(({ ifname }) => ifname.startsWith("ov-"))
      .map(({ ifname, addr_info }) => [ifname.slice(3), addr_info[0]?.local ?? ""]),
  );
}

/** What the host's kernel holds; containers by the processes that the engine names. */
export async function readState(lab: Lab, host: string): Promise<State> {
  const inside = (...words: string[]) => lab.command("exec", host, "--", ...words);
  const [links, fdb, neighbours, routes, mesh] = await Promise.all([
    inside("ip", "-j", "link", "show", "type", "vxlan"),
    inside("bridge", "-j", "fdb", "show"),
    inside("ip", "-j", "neigh", "show", "nud", "permanent"),
    inside("ip", "-j", "-4", "route", "show", "table", "main", "proto", "115"),
    inside("nft", "list", "table", "inet", "skep_overlay"),
  ]);
  const state = new Map<string, readonly string[]>();
  const served = (JSON.parse(links) as { ifname: string }[])
    .map(({ ifname }) => ifname.slice(3))
    .toSorted();
  state.set("networks", served);
  state.set("own networks", [...(await gatewaysOf(lab, host)).keys()].toSorted());
  const entries = JSON.parse(fdb) as { ifname: string; mac: string; dst?: string }[];
  const known = JSON.parse(neighbours) as { dev: string; dst: string; lladdr: string }[];
  for (const id of served) {
    const own = entries.filter(({ ifname, dst }) => ifname === `vx-${id}` && dst !== undefined);
    state.set(`${id}: forwarding`, own.map(({ mac, dst }) => `${mac} ${dst ?? ""}`).toSorted());
    const near = known.filter(({ dev }) => dev === `vx-${id}`);
    state.set(`${id}: neighbours`, near.map(({ dst, lladdr }) => `${dst} ${lladdr}`).toSorted());
  }
  const ways = JSON.parse(routes) as { dst: string; gateway?: string }[];
  state.set(
    "routes to tasks",
    ways.flatMap(({ dst, gateway }) => (gateway ? [`${dst} via ${gateway}`] : [])).toSorted(),
  );
  for (const [protocol, port, rules] of chains(
    mesh,
    /chain port_(\w+?)_(\d+) \{([^}]*\}[^}]*)\}/g,
  )) {
    state.set(`mesh ${protocol}/${port}`, addressesIn(rules));
  }
  for (const { container, pid } of await processes(lab, host)) {
    // A container on no network of the swarm has no such table.
    const list = `nsenter --net=/proc/${pid}/ns/net nft list table inet skep_balance 2>/dev/null || true`;
    const text = await lab.command("exec", host, "--", "sh", "-c", list);
    const lines = chains(text, /chain to_(\d+)_(\d+)_(\d+)_(\d+) \{([^}]*\}[^}]*)\}/g).map(
      ([a, b, c, d, rules]) => `${a}.${b}.${c}.${d}: ${addressesIn(rules).join(" ")}`,
    );
    state.set(`balance of ${container}`, lines.toSorted());
  }
  return state;
}

function chains(text: string, pattern: RegExp): readonly string[][] {
  return [...text.matchAll(pattern)].map((match) => match.slice(1));
}

/** Backends of a balance: "0 : 10.0.0.5 . 80". */
function addressesIn(rules = ""): readonly string[] {
  return [...rules.matchAll(/\d+ : (\d+\.\d+\.\d+\.\d+)/g)].map(([, one = ""]) => one).toSorted();
}

async function processes(lab: Lab, host: string) {
  const filters = encodeURIComponent(JSON.stringify({ label: ["com.docker.swarm.task.id"] }));
  const list = await lab.get<readonly { Id: string }[]>(
    host,
    `/containers/json?filters=${filters}`,
  );
  return Promise.all(
    list.map(async ({ Id }) => {
      const { State } = await lab.get<{ State: { Pid: number } }>(host, `/containers/${Id}/json`);
      return { container: Id, pid: State.Pid };
    }),
  );
}

/** What differs, a line each; empty when the kernel is as wanted. */
export function differences(wanted: State, found: State): readonly string[] {
  const lines: string[] = [];
  for (const name of new Set([...wanted.keys(), ...found.keys()])) {
    const [should, is] = [wanted.get(name) ?? [], found.get(name) ?? []];
    const lacks = should.filter((line) => !is.includes(line));
    const more = is.filter((line) => !should.includes(line));
    if (lacks.length > 0) lines.push(`${name} lacks ${lacks.join("; ")}`);
    if (more.length > 0) lines.push(`${name} has too much: ${more.join("; ")}`);
  }
  return lines;
}
