/** The ways to all other members; follows the membership. */

import type { Clock, Log } from "#base/ports.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import type { Message, NodeId, SnapshotMetadata } from "#raft/index.ts";
import type { Members } from "./members.ts";
import { Peer, type PeerEvents } from "./peer.ts";
import type { StoredSnapshot } from "./stored-snapshot.ts";

/** More than a group has; who comes beyond that is not answered before the log tells of it. */
const MET_MAX = 64;

export interface PeersOptions {
  readonly members: Members;
  /** This member's own address, for those who do not know it yet. */
  readonly addr: () => string;
  /** A shared channel to a manager; the caller owns it. */
  readonly channelTo: (addr: string) => RpcChannel;
  readonly openSnapshot: (metadata: SnapshotMetadata) => Promise<StoredSnapshot>;
  readonly events: PeerEvents;
  readonly clock: Clock;
  readonly log: Log;
}

export class Peers {
  readonly #options: PeersOptions;
  readonly #peers = new Map<NodeId, Peer>();
  /** Addresses of members that wrote before the log told of them. */
  readonly #met = new Map<NodeId, string>();
  readonly #unfollow: () => void;

  constructor(options: PeersOptions) {
    this.#options = options;
    this.#unfollow = options.members.onChange(() => this.#forgetRemoved());
  }

  /**
   * A member wrote whom the log has not told of here yet. It is answered where it says that it is:
   * a leader that is not answered sends no log, and then nothing ever tells of it.
   */
  meet(id: NodeId, addr: string): void {
    if (this.#met.size < MET_MAX || this.#met.has(id)) this.#met.set(id, addr);
  }

  send(m: Message): void {
    const { members, events } = this.#options;
    if (members.get(m.to) === undefined && !this.#met.has(m.to)) {
      // Told by the log soon; until then there is no address to send to.
      if (m.type === "MsgSnap") events.snapshotDone(m.to, "failure");
      return;
    }
    let peer = this.#peers.get(m.to);
    if (peer === undefined) {
      peer = this.#open(m.to);
      this.#peers.set(m.to, peer);
    }
    peer.send(m);
  }

  close(): void {
    this.#unfollow();
    for (const peer of this.#peers.values()) peer.close();
    this.#peers.clear();
  }

  #open(id: NodeId): Peer {
    const { members, addr: ownAddr, channelTo, openSnapshot, events, clock, log } = this.#options;
    const channel = () => {
      const addr = members.get(id)?.addr ?? this.#met.get(id) ?? "";
      return addr === "" ? undefined : channelTo(addr);
    };
    return new Peer({ id, ownAddr, channel, openSnapshot, events, clock, log });
  }

  #forgetRemoved(): void {
    const { members } = this.#options;
    for (const id of this.#met.keys()) {
      if (members.get(id) !== undefined || members.isRemoved(id)) this.#met.delete(id);
    }
    for (const [id, peer] of this.#peers) {
      if (!members.isRemoved(id)) continue;
      peer.close();
      this.#peers.delete(id);
    }
  }
}
