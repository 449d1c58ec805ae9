/**
 * The Engine API's JSON types of networks and of a container's endpoints on them, exactly as they
 * travel. Types only.
 */

export interface IpamPool {
  /** CIDR. */
  readonly Subnet?: string;
  /** CIDR inside Subnet from which addresses are handed out. */
  readonly IPRange?: string;
  readonly Gateway?: string;
  /** Name to address: addresses inside Subnet that are taken by something else. */
  readonly AuxiliaryAddresses?: Readonly<Record<string, string>>;
}

export interface IpamConfig {
  readonly Driver?: string;
  readonly Options?: Readonly<Record<string, string>> | null;
  readonly Config?: readonly IpamPool[] | null;
}

/** POST /networks/create. */
export interface NetworkCreateBody {
  readonly Name: string;
  readonly CheckDuplicate?: boolean;
  readonly Driver?: string;
  readonly Scope?: string;
  readonly Internal?: boolean;
  readonly Attachable?: boolean;
  readonly Ingress?: boolean;
  readonly ConfigOnly?: boolean;
  readonly ConfigFrom?: { readonly Network: string } | null;
  readonly IPAM?: IpamConfig | null;
  readonly EnableIPv4?: boolean;
  readonly EnableIPv6?: boolean;
  readonly Options?: Readonly<Record<string, string>> | null;
  readonly Labels?: Readonly<Record<string, string>> | null;
}

export interface NetworkCreateResponse {
  readonly Id: string;
  readonly Warning: string;
}

/** A container on a network, as the network shows it; addresses with their prefix length. */
export interface NetworkContainer {
  readonly Name: string;
  readonly EndpointID: string;
  readonly MacAddress: string;
  readonly IPv4Address: string;
  readonly IPv6Address: string;
}

/** One task of a service on a network, in the verbose view. */
export interface NetworkTaskInfo {
  readonly Name: string;
  readonly EndpointID: string;
  readonly EndpointIP: string;
  readonly Info: Readonly<Record<string, string>>;
}

export interface NetworkServiceInfo {
  readonly VIP: string;
  readonly Ports: readonly string[];
  readonly LocalLBIndex: number;
  readonly Tasks: readonly NetworkTaskInfo[];
}

/** GET /networks/{id} and one row of GET /networks. */
export interface NetworkInspect {
  readonly Name: string;
  readonly Id: string;
  /** RFC 3339 with nanoseconds. */
  readonly Created: string;
  readonly Scope: "local" | "swarm" | "global";
  readonly Driver: string;
  readonly EnableIPv4?: boolean;
  readonly EnableIPv6: boolean;
  readonly IPAM: {
    readonly Driver: string;
    readonly Options: Readonly<Record<string, string>> | null;
    readonly Config: readonly IpamPool[] | null;
  };
  readonly Internal: boolean;
  readonly Attachable: boolean;
  readonly Ingress: boolean;
  readonly ConfigFrom: { readonly Network: string };
  readonly ConfigOnly: boolean;
  /** By container id; empty in the list. */
  readonly Containers: Readonly<Record<string, NetworkContainer>>;
  readonly Options: Readonly<Record<string, string>>;
  readonly Labels: Readonly<Record<string, string>>;
  /** Nodes that serve a swarm network. */
  readonly Peers?: readonly { readonly Name: string; readonly IP: string }[];
  /** `verbose=true` only. */
  readonly Services?: Readonly<Record<string, NetworkServiceInfo>>;
}

/** Addresses that a container asks for on a network. */
export interface EndpointIpamConfig {
  readonly IPv4Address?: string;
  readonly IPv6Address?: string;
  readonly LinkLocalIPs?: readonly string[] | null;
}

/** A container's endpoint on a network: what was asked for, then what it got. */
export interface EndpointSettings {
  readonly IPAMConfig?: EndpointIpamConfig | null;
  readonly Links?: readonly string[] | null;
  readonly Aliases?: readonly string[] | null;
  readonly MacAddress?: string;
  readonly DriverOpts?: Readonly<Record<string, string>> | null;
  readonly GwPriority?: number;
  readonly NetworkID?: string;
  readonly EndpointID?: string;
  readonly Gateway?: string;
  readonly IPAddress?: string;
  readonly IPPrefixLen?: number;
  readonly IPv6Gateway?: string;
  readonly GlobalIPv6Address?: string;
  readonly GlobalIPv6PrefixLen?: number;
  /** What the network's DNS answers for this endpoint (API 1.44). */
  readonly DNSNames?: readonly string[] | null;
}

/** POST /networks/{id}/connect. */
export interface NetworkConnectBody {
  readonly Container: string;
  readonly EndpointConfig?: EndpointSettings | null;
}

/** POST /networks/{id}/disconnect. */
export interface NetworkDisconnectBody {
  readonly Container: string;
  readonly Force?: boolean;
}

/** Answer of POST /networks/prune. */
export interface NetworksPruneReport {
  readonly NetworksDeleted: readonly string[] | null;
}
