/**
 * Route netlink, the kernel's own protocol for links, addresses and routes: requests as bytes, and
 * the acknowledgements that come back. Only what engines need in a hurry; the rest is iproute2's.
 * Numbers are those of linux/netlink.h, rtnetlink.h, if_link.h and if_addr.h, in the host's byte
 * order. Several requests may be sent in one buffer: the kernel answers each by its own number.
 */

import ipaddr from "ipaddr.js";
import { concat } from "#base/concat.ts";

/** One request; `what` is for messages, in the words of `ip`. */
export interface NetlinkRequest {
  readonly what: string;
  /** Without its number: `packRequests` writes that in. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export interface NetlinkAck {
  readonly sequence: number;
  /** 0 = done. */
  readonly errno: number;
  /** The kernel's own explanation; often empty. */
  readonly message: string;
}

const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
const HEADER_BYTES = 16;

const NLMSG_ERROR = 2;
const NLM_F_REQUEST = 0x1;
const NLM_F_ACK = 0x4;
const NLM_F_REPLACE = 0x100;
const NLM_F_EXCL = 0x200;
const NLM_F_CREATE = 0x400;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLMSGERR_ATTR_MSG = 1;

const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_SETLINK = 19;
const RTM_NEWADDR = 20;
const RTM_NEWROUTE = 24;

const IFLA = {
  address: 1,
  ifname: 3,
  mtu: 4,
  master: 10,
  linkinfo: 18,
  netNsPid: 19,
  ifalias: 20,
} as const;
const INFO = { kind: 1, data: 2, slaveKind: 4, slaveData: 5 } as const;
const VETH_INFO_PEER = 1;
const BRPORT = { hairpin: 4, isolated: 33 } as const;
const IFA = { address: 1, local: 2, broadcast: 4 } as const;
const RTA = { oif: 4, gateway: 5 } as const;
const NESTED = 0x8000;

const IFF_UP = 1;
const IFA_F_NODAD = 0x02;
const AF_INET = 2;
const AF_INET6 = 10;
const RT_TABLE_MAIN = 254;
const RTPROT_BOOT = 3;
const RTN_UNICAST = 1;
const RT_SCOPE_LINK = 253;

export interface VethPair {
  readonly name: string;
  readonly mtu: number;
  readonly peer: {
    readonly name: string;
    readonly mac: string;
    /** Any process of the namespace that the peer is made in. */
    readonly pid: number;
  };
}

export function createVeth({ name, mtu, peer }: VethPair): NetlinkRequest {
  const other = concat([
    linkHeader(0),
    text(IFLA.ifname, peer.name),
    attribute(IFLA.address, macBytes(peer.mac)),
    attribute(IFLA.mtu, u32(mtu)),
    attribute(IFLA.netNsPid, u32(peer.pid)),
  ]);
  const info = [text(INFO.kind, "veth"), nested(INFO.data, [attribute(VETH_INFO_PEER, other)])];
  const body = [
    text(IFLA.ifname, name),
    attribute(IFLA.mtu, u32(mtu)),
    nested(IFLA.linkinfo, info),
  ];
  const flags = NLM_F_CREATE | NLM_F_EXCL;
  return request(`link add ${name} type veth`, RTM_NEWLINK, flags, [linkHeader(0), ...body]);
}

export interface LinkChange {
  readonly name: string;
  readonly alias?: string;
  /** Index of the bridge that it becomes a port of. */
  readonly master?: number;
  readonly up?: true;
}

export function setLink({ name, alias, master, up }: LinkChange): NetlinkRequest {
  return request(`link set ${name}`, RTM_SETLINK, 0, [
    linkHeader(0, up === true),
    text(IFLA.ifname, name),
    ...(alias === undefined ? [] : [text(IFLA.ifalias, alias)]),
    ...(master === undefined ? [] : [attribute(IFLA.master, u32(master))]),
  ]);
}

export interface BridgePort {
  readonly name: string;
  /** Frames may go back out of the port that they came in by. */
  readonly hairpin: boolean;
  /** It exchanges frames with ports that are not isolated only. */
  readonly isolated: boolean;
}

/** For a link that has its master already. */
export function setBridgePort({ name, hairpin, isolated }: BridgePort): NetlinkRequest {
  const data = [
    attribute(BRPORT.hairpin, new Uint8Array([hairpin ? 1 : 0])),
    attribute(BRPORT.isolated, new Uint8Array([isolated ? 1 : 0])),
  ];
  const info = [text(INFO.slaveKind, "bridge"), nested(INFO.slaveData, data)];
  const body = [linkHeader(0), text(IFLA.ifname, name), nested(IFLA.linkinfo, info)];
  return request(`link set ${name} type bridge_slave`, RTM_NEWLINK, 0, body);
}

export function deleteLink(name: string): NetlinkRequest {
  return request(`link del ${name}`, RTM_DELLINK, 0, [linkHeader(0), text(IFLA.ifname, name)]);
}

/** `cidr` is the address with its prefix length; IPv6 is usable at once, unchecked for twins. */
export function addAddress(index: number, cidr: string): NetlinkRequest {
  const [address, length] = ipaddr.parseCIDR(cidr);
  const bytes = new Uint8Array(address.toByteArray());
  const four = bytes.length === 4;
  const header = new Uint8Array(8);
  header[0] = four ? AF_INET : AF_INET6;
  header[1] = length;
  header[2] = four ? 0 : IFA_F_NODAD;
  view(header).setUint32(4, index, LITTLE_ENDIAN);
  return request(`addr add ${cidr} dev #${index}`, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, [
    header,
    attribute(IFA.local, bytes),
    attribute(IFA.address, bytes),
    // A network of two addresses or one has no room for a broadcast address.
    ...(four && length < 31 ? [attribute(IFA.broadcast, broadcastOf(bytes, length))] : []),
  ]);
}

/**
 * The default route of the gateway's family, whatever it was before. An address of zeros is no router:
 * then everything leaves by the interface itself.
 */
export function replaceDefaultRoute(index: number, gateway: string): NetlinkRequest {
  const isDirect = gateway === "0.0.0.0" || gateway === "::";
  const bytes = new Uint8Array(ipaddr.parse(gateway).toByteArray());
  const header = new Uint8Array(12);
  header[0] = bytes.length === 4 ? AF_INET : AF_INET6;
  header[4] = RT_TABLE_MAIN;
  header[5] = RTPROT_BOOT;
  header[7] = RTN_UNICAST;
  if (isDirect) header[6] = RT_SCOPE_LINK;
  const via = isDirect ? [] : [attribute(RTA.gateway, bytes)];
  const body = [header, ...via, attribute(RTA.oif, u32(index))];
  const flags = NLM_F_CREATE | NLM_F_REPLACE;
  return request(`route replace default via ${gateway}`, RTM_NEWROUTE, flags, body);
}

/** Requests as one buffer; the first gets the number `first`, and so on. */
export function packRequests(
  requests: readonly NetlinkRequest[],
  first: number,
): Uint8Array<ArrayBuffer> {
  const packed = concat(requests.map(({ bytes }) => bytes));
  let at = 0;
  for (const [index, { bytes }] of requests.entries()) {
    view(packed).setUint32(at + 8, first + index, LITTLE_ENDIAN);
    at += bytes.length;
  }
  return packed;
}

/** The acknowledgements in one datagram of the kernel; other messages and torn ones are left out. */
export function parseAcks(bytes: Uint8Array): readonly NetlinkAck[] {
  const acks: NetlinkAck[] = [];
  for (const { type, flags, sequence, body } of messages(bytes)) {
    if (type !== NLMSG_ERROR || body.length < 4) continue;
    const errno = -view(body).getInt32(0, LITTLE_ENDIAN);
    acks.push({ sequence, errno: errno === 0 ? 0 : errno, message: explanation(flags, body) });
  }
  return acks;
}

interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly body: Uint8Array;
}

function messages(bytes: Uint8Array): readonly Message[] {
  const found: Message[] = [];
  const data = view(bytes);
  for (let at = 0; at + HEADER_BYTES <= bytes.length; ) {
    const length = data.getUint32(at, LITTLE_ENDIAN);
    if (length < HEADER_BYTES || at + length > bytes.length) break;
    found.push({
      type: data.getUint16(at + 4, LITTLE_ENDIAN),
      flags: data.getUint16(at + 6, LITTLE_ENDIAN),
      sequence: data.getUint32(at + 8, LITTLE_ENDIAN),
      body: bytes.subarray(at + HEADER_BYTES, at + length),
    });
    at += aligned(length);
  }
  return found;
}

/** The text attribute that follows the echo of the request: of its header only, when capped. */
function explanation(flags: number, body: Uint8Array): string {
  if ((flags & NLM_F_ACK_TLVS) === 0 || body.length < 4 + HEADER_BYTES) return "";
  const capped = (flags & NLM_F_CAPPED) !== 0;
  const data = view(body);
  let at = 4 + (capped ? HEADER_BYTES : aligned(data.getUint32(4, LITTLE_ENDIAN)));
  while (at + 4 <= body.length) {
    const length = data.getUint16(at, LITTLE_ENDIAN);
    if (length < 4 || at + length > body.length) return "";
    if (data.getUint16(at + 2, LITTLE_ENDIAN) === NLMSGERR_ATTR_MSG) {
      return new TextDecoder().decode(body.subarray(at + 4, at + length)).replaceAll("\0", "");
    }
    at += aligned(length);
  }
  return "";
}

function request(
  what: string,
  type: number,
  flags: number,
  parts: readonly Uint8Array[],
): NetlinkRequest {
  const bytes = concat([new Uint8Array(HEADER_BYTES), ...parts]);
  const data = view(bytes);
  data.setUint32(0, bytes.length, LITTLE_ENDIAN);
  data.setUint16(4, type, LITTLE_ENDIAN);
  data.setUint16(6, flags | NLM_F_REQUEST | NLM_F_ACK, LITTLE_ENDIAN);
  return { what, bytes };
}

/** struct ifinfomsg. */
function linkHeader(index: number, up = false): Uint8Array {
  const header = new Uint8Array(16);
  const data = view(header);
  data.setInt32(4, index, LITTLE_ENDIAN);
  if (up) {
    data.setUint32(8, IFF_UP, LITTLE_ENDIAN);
    data.setUint32(12, IFF_UP, LITTLE_ENDIAN);
  }
  return header;
}

function attribute(type: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(aligned(4 + value.length));
  const data = view(bytes);
  data.setUint16(0, 4 + value.length, LITTLE_ENDIAN);
  data.setUint16(2, type, LITTLE_ENDIAN);
  bytes.set(value, 4);
  return bytes;
}

function nested(type: number, parts: readonly Uint8Array[]): Uint8Array {
  return attribute(type | NESTED, concat(parts));
}

function text(type: number, value: string): Uint8Array {
  return attribute(type, new TextEncoder().encode(`${value}\0`));
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  view(bytes).setUint32(0, value, LITTLE_ENDIAN);
  return bytes;
}

function macBytes(mac: string): Uint8Array {
  return new Uint8Array(mac.split(":").map((part) => Number.parseInt(part, 16)));
}

function broadcastOf(address: Uint8Array, length: number): Uint8Array {
  return address.map((byte, index) => {
    const hostBits = Math.min(8, Math.max(0, 8 * (index + 1) - length));
    return byte | (2 ** hostBits - 1);
  });
}

function aligned(length: number): number {
  return (length + 3) & ~3;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
