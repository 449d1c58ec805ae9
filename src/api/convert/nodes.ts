/** Nodes in the API. */

import { create } from "@bufbuild/protobuf";
import { fingerprintOf, readCertificate, requestedKeyOf } from "#platform/x509/certificate.ts";
import type { TlsInfo } from "#wire/docker/common.ts";
import type {
  NodeDescription as DescriptionJson,
  Node as NodeJson,
  NodeSpec as NodeSpecJson,
} from "#wire/docker/nodes.ts";
import type { Node } from "#wire/gen/swarmkit/objects_pb.js";
import {
  NodeSpec_Availability as Availability,
  NodeSpec_Membership as Membership,
  type NodeSpec,
  NodeSpecSchema,
} from "#wire/gen/swarmkit/specs_pb.js";
import {
  type NodeDescription,
  NodeRole,
  NodeStatus_State as NodeState,
  type NodeTLSInfo,
  RaftMemberStatus_Reachability as Reachability,
} from "#wire/gen/swarmkit/types_pb.js";
import {
  annotationsFromJson,
  annotationsToJson,
  genericResourcesToJson,
  metaToJson,
  platformToJson,
} from "./common.ts";
import type { JsonObject } from "./read-json.ts";
import { invalid, named, nameOf } from "./refusal.ts";
import {
  base64OrNone,
  compact,
  listOrNone,
  mapOrNone,
  numberOrNone,
  textOrNone,
  trueOrNone,
} from "./write-json.ts";

export const ROLES = { worker: NodeRole.WORKER, manager: NodeRole.MANAGER } as const;
export const MEMBERSHIPS = {
  pending: Membership.PENDING,
  accepted: Membership.ACCEPTED,
} as const;
const AVAILABILITIES = {
  active: Availability.ACTIVE,
  pause: Availability.PAUSE,
  drain: Availability.DRAIN,
} as const;
const STATES = {
  unknown: NodeState.UNKNOWN,
  down: NodeState.DOWN,
  ready: NodeState.READY,
  disconnected: NodeState.DISCONNECTED,
} as const;
const REACHABILITIES = {
  unknown: Reachability.UNKNOWN,
  unreachable: Reachability.UNREACHABLE,
  reachable: Reachability.REACHABLE,
} as const;

export function nodeToJson(node: Node): NodeJson {
  const { managerStatus, status } = node;
  return compact({
    ...metaToJson(node),
    Spec: nodeSpecToJson(node.spec ?? create(NodeSpecSchema)),
    Description: descriptionToJson(node.description),
    Status: compact({
      State: nameOf(STATES, status?.state ?? NodeState.UNKNOWN, "unknown"),
      Message: textOrNone(status?.message ?? ""),
      Addr: textOrNone(status?.addr ?? ""),
    }),
    ManagerStatus:
      managerStatus &&
      compact({
        Leader: trueOrNone(managerStatus.leader),
        Reachability: nameOf(REACHABILITIES, managerStatus.reachability, "unknown"),
        Addr: textOrNone(managerStatus.addr),
      }),
    KeyFingerprint: keyFingerprint(node),
    IdentityLabels: mapOrNone(node.identityLabels),
  });
}

/** Undefined where there is nothing to read; a node is shown all the same. */
function keyFingerprint({ certificate }: Node): string | undefined {
  if (certificate === undefined) return undefined;
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  try {
    const issued = text(certificate.certificate);
    return fingerprintOf(
      issued === ""
        ? requestedKeyOf(text(certificate.csr))
        : readCertificate(issued).asIssuer.publicKey,
    );
  } catch {
    return undefined;
  }
}

export function nodeSpecToJson(spec: NodeSpec): NodeSpecJson {
  return {
    ...annotationsToJson(spec.annotations),
    Role: nameOf(ROLES, spec.desiredRole, "worker"),
    Availability: nameOf(AVAILABILITIES, spec.availability, "active"),
    Membership: nameOf(MEMBERSHIPS, spec.membership, "pending"),
  };
}

/** `membership` is what the node has: docker's clients know nothing of it, and must not undo it. */
export function nodeSpecFromJson(json: JsonObject, membership: Membership): NodeSpec {
  const role = json.text("Role");
  if (role === "") throw invalid('invalid Role: ""');
  const given = json.text("Availability");
  if (given === "") throw invalid('invalid Availability: ""');
  return create(NodeSpecSchema, {
    annotations: annotationsFromJson(json),
    desiredRole: named(ROLES, role, NodeRole.WORKER, (value) => `invalid Role: ${value}`),
    availability: availabilityOf(given),
    membership: named(
      MEMBERSHIPS,
      json.text("Membership"),
      membership,
      (value) => `invalid Membership: ${value}`,
    ),
  });
}

export function availabilityOf(name: string): Availability {
  const refusal = (value: string) => `invalid Availability: ${value}`;
  return named(AVAILABILITIES, name, Availability.ACTIVE, refusal);
}

function descriptionToJson(description: NodeDescription | undefined): DescriptionJson {
  const { resources, engine, tlsInfo, csiInfo = [] } = description ?? {};
  return compact({
    Hostname: textOrNone(description?.hostname ?? ""),
    Platform: platformToJson(description?.platform),
    Resources: compact({
      NanoCPUs: numberOrNone(resources?.nanoCpus ?? 0n),
      MemoryBytes: numberOrNone(resources?.memoryBytes ?? 0n),
      GenericResources: genericResourcesToJson(resources?.generic ?? []),
    }),
    Engine: compact({
      EngineVersion: textOrNone(engine?.engineVersion ?? ""),
      Labels: mapOrNone(engine?.labels ?? {}),
      Plugins: listOrNone(
        (engine?.plugins ?? []).map(({ type, name }) =>
          compact({ Type: textOrNone(type), Name: textOrNone(name) }),
        ),
      ),
    }),
    TLSInfo: tlsInfoToJson(tlsInfo),
    CSIInfo: listOrNone(
      csiInfo.map(({ pluginName, nodeId, maxVolumesPerNode, accessibleTopology }) =>
        compact({
          PluginName: textOrNone(pluginName),
          NodeID: textOrNone(nodeId),
          MaxVolumesPerNode: numberOrNone(maxVolumesPerNode),
          AccessibleTopology:
            accessibleTopology && compact({ Segments: mapOrNone(accessibleTopology.segments) }),
        }),
      ),
    ),
  });
}

function tlsInfoToJson(info: NodeTLSInfo | undefined): TlsInfo {
  if (info === undefined) return {};
  return compact({
    TrustRoot: textOrNone(new TextDecoder().decode(info.trustRoot)),
    CertIssuerSubject: base64OrNone(info.certIssuerSubject),
    CertIssuerPublicKey: base64OrNone(info.certIssuerPublicKey),
  });
}
