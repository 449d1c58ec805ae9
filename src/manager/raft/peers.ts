/** The ways to all other members; follows the membership. */

import type { Clock, Log } from "#base/ports.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import type { Message, NodeId, SnapshotMetadata } from "#raft/index.ts";
import type { Members } from "./members.ts";
import { Peer, type PeerEvents } from "./peer.ts";

export interface PeersOptions {
  readonly members: Members;
  /** A shared channel to a manager; the caller owns it. */
  readonly channelTo: (addr: string) => RpcChannel;
  readonly loadSnapshot: (metadata: SnapshotMetadata) => Promise<Uint8Array>;
  readonly events: PeerEvents;
  readonly clock: Clock;
  readonly log: Log;
}

export class Peers {
  readonly #options: PeersOptions;
  readonly #peers = new Map<NodeId, Peer>();
  readonly #unfollow: () => void;

  constructor(options: PeersOptions) {
    this.#options = options;
    this.#unfollow = options.members.onChange(() => this.#forgetRemoved());
  }

  send(m: Message): void {
    const { members, events } = this.#options;
    if (members.get(m.to) === undefined) {
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
    const { members, channelTo, loadSnapshot, events, clock, log } = this.#options;
    const channel = () => {
      const member = members.get(id);
      return member === undefined || member.addr === "" ? undefined : channelTo(member.addr);
    };
    return new Peer({ id, channel, loadSnapshot, events, clock, log });
  }

  #forgetRemoved(): void {
    for (const [id, peer] of this.#peers) {
      if (!this.#options.members.isRemoved(id)) continue;
      peer.close();
      this.#peers.delete(id);
    }
  }
}
