/** Nodes in the Engine API. Types only. */

import type { Annotations, ObjectMeta, Platform, Resources, StringMap, TlsInfo } from "./common.ts";

export interface NodeSpec extends Annotations {
  readonly Role: "worker" | "manager";
  readonly Availability: "active" | "pause" | "drain";
  /** Ours alone; a client that leaves it out leaves it as it is. */
  readonly Membership?: "pending" | "accepted";
}

export interface CsiInfo {
  readonly PluginName?: string;
  readonly NodeID?: string;
  readonly MaxVolumesPerNode?: number;
  readonly AccessibleTopology?: { readonly Segments?: StringMap };
}

export interface NodeDescription {
  readonly Hostname?: string;
  readonly Platform: Platform;
  readonly Resources: Resources;
  readonly Engine: {
    readonly EngineVersion?: string;
    readonly Labels?: StringMap;
    readonly Plugins?: readonly { readonly Type?: string; readonly Name?: string }[];
  };
  readonly TLSInfo: TlsInfo;
  readonly CSIInfo?: readonly CsiInfo[];
}

export interface NodeStatus {
  readonly State: "unknown" | "down" | "ready" | "disconnected";
  readonly Message?: string;
  readonly Addr?: string;
}

export interface ManagerStatus {
  readonly Leader?: boolean;
  readonly Reachability: "unknown" | "unreachable" | "reachable";
  readonly Addr?: string;
}

export interface Node extends ObjectMeta {
  readonly Spec: NodeSpec;
  readonly Description: NodeDescription;
  readonly Status: NodeStatus;
  /** Managers only. */
  readonly ManagerStatus?: ManagerStatus;
  /** Of the public key in the node's certificate, or in its request for one; ours alone. */
  readonly KeyFingerprint?: string;
  /** From the token that let the node in; ours alone. */
  readonly IdentityLabels?: StringMap;
}
