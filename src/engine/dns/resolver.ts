/**
 * DNS for containers on networks with names: a resolver inside every container's namespace that
 * answers for the names on its networks and asks others for the rest. Its sockets end with this
 * process; the next one opens them anew for what still runs.
 */

import type { Answer } from "dns-packet";
import { messageOf } from "#base/error.ts";
import type { Clock, Log, Random, Timer } from "#base/ports.ts";
import { byPreference } from "../networks/endpoint-plan.ts";
import type { EndpointRecord } from "../networks/records.ts";
import type { ContainerResolver, Exit } from "../networks/state.ts";
import type { NetworkSandbox } from "../ports.ts";
import { RESOLVER_ADDRESS } from "./address.ts";
import { type Asker, answerQuestion, type Verdict } from "./answer.ts";
import { Forwarder } from "./forwarder.ts";
import { hostServers } from "./host-servers.ts";
import { type Listener, openListener, type Transport } from "./listener.ts";
import { ContainerNames, firstOf, type NameSource } from "./names.ts";
import { type Query, RCODE, readQuery, writeFailure, writeRefusal, writeReply } from "./query.ts";
import type { Upstream } from "./upstream.ts";

export interface ContainerDnsOptions {
  /** The engine's name servers for containers that name none; empty = the host's. */
  readonly servers: readonly string[];
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface ContainerDns extends ContainerResolver {
  /** Names besides those of this host's containers, which yield to them; returns how to end that. */
  addSource(source: NameSource): () => void;
  close(): void;
}

export function createContainerDns(options: ContainerDnsOptions): ContainerDns {
  return new Resolvers(options);
}

/** What one container's resolver goes by; changes with its networks. */
interface View {
  readonly asker: Asker;
  readonly servers: readonly string[];
  readonly exit: Exit;
}

interface Resolver {
  readonly netns: string;
  readonly listener: Listener;
  view: View;
}

const AUDIT_MS = 4_000;

class Resolvers implements ContainerDns {
  readonly #options: ContainerDnsOptions;
  readonly #log: Log;
  readonly #names = new ContainerNames();
  readonly #sources = new Set<NameSource>();
  readonly #resolvers = new Map<string, Resolver>();
  readonly #hostServers: () => Promise<readonly string[]>;
  #turn = 0;
  #timer: Timer | undefined;
  #closed = false;

  constructor(options: ContainerDnsOptions) {
    this.#options = options;
    this.#log = options.log.child({ component: "dns" });
    this.#hostServers = hostServers(options.clock);
    this.#planAudit();
  }

  addSource(source: NameSource): () => void {
    this.#sources.add(source);
    return () => this.#sources.delete(source);
  }

  async attached(
    sandbox: NetworkSandbox,
    endpoints: readonly EndpointRecord[],
    exit: Exit,
  ): Promise<readonly string[] | undefined> {
    const { containerId, netnsPath, dns } = sandbox;
    const named = endpoints.filter(({ names }) => names.length > 0);
    if (named.length === 0) {
      await this.detached(containerId);
      return undefined;
    }
    const servers = dns !== undefined && dns.length > 0 ? dns : this.#options.servers;
    const view = { asker: askerOf(named), servers, exit };
    const known = this.#resolvers.get(containerId);
    if (known?.netns === netnsPath) known.view = view;
    else await this.#open(containerId, netnsPath, view);
    this.#names.set(containerId, named);
    return [RESOLVER_ADDRESS];
  }

  detached(containerId: string): Promise<void> {
    this.#names.set(containerId, []);
    this.#resolvers.get(containerId)?.listener.close();
    this.#resolvers.delete(containerId);
    return Promise.resolve();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    for (const { listener } of this.#resolvers.values()) listener.close();
    this.#resolvers.clear();
  }

  #planAudit(): void {
    if (this.#closed) return;
    this.#timer = this.#options.clock.setTimer(AUDIT_MS, () => void this.#audit());
  }

  /** A tool inside a container may flush what leads to its resolver. */
  async #audit(): Promise<void> {
    for (const [container, { listener }] of this.#resolvers) {
      try {
        if (await listener.audit()) {
          this.#log.warn("the way to a container's resolver was gone, it is made anew", {
            container,
          });
        }
      } catch (error) {
        // It may have ended in between.
        this.#log.debug("a container's resolver could not be looked after", {
          container,
          reason: messageOf(error),
        });
      }
    }
    this.#planAudit();
  }

  async #open(containerId: string, netns: string, view: View): Promise<void> {
    this.#resolvers.get(containerId)?.listener.close();
    const forwarder = new Forwarder({
      ...this.#options,
      servers: () => this.#upstreams(this.#resolvers.get(containerId)?.view ?? view, netns),
    });
    const listener = await openListener(
      netns,
      async (message, transport) => {
        const asker = (this.#resolvers.get(containerId)?.view ?? view).asker;
        try {
          return await this.#answer(message, transport, asker, forwarder);
        } catch (error) {
          this.#log.error("a question could not be answered", { container: containerId, error });
          return undefined;
        }
      },
      (error) =>
        this.#log.error("the sockets of a container's resolver failed", {
          container: containerId,
          reason: messageOf(error),
        }),
    );
    this.#resolvers.set(containerId, { netns, listener, view });
  }

  async #answer(
    message: Buffer,
    transport: Transport,
    asker: Asker,
    forwarder: Forwarder,
  ): Promise<Uint8Array | undefined> {
    const reading = readQuery(message);
    if (reading.kind === "ignore") return undefined;
    if (reading.kind === "refuse") return writeRefusal(reading.id, reading.rcode);
    const { query } = reading;
    const maxBytes = transport === "tcp" ? 0xffff : query.maxBytes;
    this.#turn = (this.#turn + 1) % 0x10000;
    const all = firstOf([...this.#sources, this.#names]);
    const verdict: Verdict = query.internet
      ? answerQuestion(query, asker, all, this.#turn)
      : { kind: "forward" };
    if (verdict.kind !== "forward") {
      return writeReply(query, RCODE.ok, recordsOf(query, verdict), maxBytes);
    }
    const forwarded = await forwarder.forward(message, transport);
    if (forwarded.kind === "reply") return forwarded.bytes;
    this.#log.debug("the name servers of a container do not answer", {
      name: query.name,
      type: query.type,
      reason: forwarded.kind,
    });
    const rcode = forwarded.kind === "busy" ? RCODE.refused : RCODE.failed;
    return writeFailure(message, rcode);
  }

  async #upstreams(view: View, netns: string): Promise<readonly Upstream[]> {
    const host = view.servers.length > 0 ? [] : await this.#hostServers();
    return upstreamsOf(view, host, netns);
  }
}

/** Whom a container asks, and from where; `host` are the host's own servers. */
export function upstreamsOf(
  { exit, servers }: Pick<View, "exit" | "servers">,
  host: readonly string[],
  netns: string,
): readonly Upstream[] {
  if (exit === "none") return [];
  const own = exit === "container" ? netns : undefined;
  if (servers.length > 0) return servers.map((address) => ({ address, netns: own }));
  // A server on the host's loopback, or on one of its links, is not where the container is.
  return host.flatMap((address) =>
    address.includes("%") ? [] : [{ address, netns: isLoopback(address) ? undefined : own }],
  );
}

function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1";
}

function askerOf(endpoints: readonly EndpointRecord[]): Asker {
  const links = endpoints.flatMap(({ settings }) =>
    (settings.Links ?? []).map((link) => {
      const [target = "", alias = target] = link.split(":");
      return [alias.toLowerCase(), target.replace(/^\//, "").toLowerCase()] as const;
    }),
  );
  return {
    networks: byPreference(endpoints).map(({ networkId, networkName }) => ({
      id: networkId,
      name: networkName,
    })),
    links: new Map(links),
  };
}

/** Nobody may keep them: who a name stands for changes at once. */
const TTL_SECONDS = 0;

function recordsOf(query: Query, verdict: Verdict): readonly Answer[] {
  if (verdict.kind === "addresses") {
    const { type, addresses } = verdict;
    return addresses.map((data) => ({ type, name: query.name, ttl: TTL_SECONDS, data }));
  }
  if (verdict.kind === "pointer") {
    return [{ type: "PTR", name: query.name, ttl: TTL_SECONDS, data: verdict.name }];
  }
  return [];
}
