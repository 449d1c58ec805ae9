import { beforeEach, expect, test } from "vitest";
import type { Message } from "#raft/index.ts";
import { EMPTY_CONF_STATE, NONE } from "#raft/index.ts";
import { Greeter } from "./greeter.ts";
import { Members } from "./members.ts";

const SELF = 3;
const TERM = 7;
let sent: Message[];
let members: Members;
let greeter: Greeter;

beforeEach(() => {
  sent = [];
  members = new Members();
  members.learn(
    [1, 2, SELF].map((raftId) => ({ raftId, nodeId: `n${raftId}`, addr: `a${raftId}` })),
  );
  greeter = new Greeter({ self: SELF, members, everyTicks: 4, send: (m) => sent.push(m) });
});

function tick(times: number, leadId = NONE): void {
  for (let i = 0; i < times; i++) greeter.tick(leadId, TERM);
}

test("a member without a vote greets all others after each silence", () => {
  tick(3);
  expect(sent).toEqual([]);
  tick(1);
  expect(sent.map(({ type, from, to, term }) => ({ type, from, to, term }))).toEqual(
    [1, 2].map((to) => ({ type: "MsgHeartbeatResp", from: SELF, to, term: TERM })),
  );
  tick(4);
  expect(sent).toHaveLength(4);
});

test("a leader that is heard ends the silence", () => {
  tick(3);
  tick(1, 1);
  tick(3);
  expect(sent).toEqual([]);
});

test("one that votes asks for votes instead", () => {
  members.restore(undefined, { ...EMPTY_CONF_STATE, voters: [1, 2, SELF] });
  members.learn(
    [1, 2, SELF].map((raftId) => ({ raftId, nodeId: `n${raftId}`, addr: `a${raftId}` })),
  );
  tick(20);
  expect(sent).toEqual([]);
});

test("who takes leave greets at once and with every tick, whoever leads", () => {
  greeter.takeLeave(TERM);
  expect(sent.map(({ to }) => to)).toEqual([1, 2]);
  tick(2, 1);
  expect(sent.map(({ to }) => to)).toEqual([1, 2, 1, 2, 1, 2]);
});
