/**
 * Keeps a member without a vote from waiting for ever. Whoever votes and hears nothing asks for votes,
 * and is answered when it was removed meanwhile. One that only learns asks nobody: the leader may have
 * forgotten it, and with it the one chance to say so. It therefore greets the others, who tell it if
 * it was removed; to the leader, if it still is a member, the greeting is a sign that it is back.
 *
 * One that knows of its own removal greets them, too, until somebody says that it was: until then it
 * may be the only one who knows, and its vote the one that they lack.
 */

import { type Message, NONE, type NodeId, message as raftMessage } from "#raft/index.ts";
import type { Members } from "./members.ts";

export interface GreeterOptions {
  readonly self: NodeId;
  readonly members: Members;
  /** Ticks of silence before the first greeting, and between two. */
  readonly everyTicks: number;
  readonly send: (m: Message) => void;
}

export class Greeter {
  readonly #options: GreeterOptions;
  #silentTicks = 0;
  #isLeaving = false;

  constructor(options: GreeterOptions) {
    this.#options = options;
  }

  /** Greets with every tick from now on. */
  takeLeave(term: number): void {
    this.#isLeaving = true;
    this.#greet(term);
  }

  /** Called with every tick, the leader that this member knows, and its term. */
  tick(leadId: NodeId, term: number): void {
    const { self, members, everyTicks } = this.#options;
    this.#silentTicks = leadId === NONE && !members.isVoter(self) ? this.#silentTicks + 1 : 0;
    if (this.#isLeaving || this.#silentTicks >= everyTicks) this.#greet(term);
  }

  #greet(term: number): void {
    const { self, members, send } = this.#options;
    this.#silentTicks = 0;
    for (const { raftId } of members.list()) {
      if (raftId === self) continue;
      send(raftMessage({ type: "MsgHeartbeatResp", from: self, to: raftId, term }));
    }
  }
}
