/**
 * Runs the `interaction/` transcripts: a table of commands that drive a `Cluster` by hand. The
 * commands are those of etcd's scripts; `propose-batch`, `read-index` and `restart` are ours, as are
 * the options `max-size-per-msg` and `max-uncommitted-size` of `add-nodes`.
 */

import { RAFT_DEFAULTS, type RaftConfig } from "../config.ts";
import { describeEntries, describeMessage, describeState, describeStepError } from "../describe.ts";
import { EMPTY_CONF_STATE, message } from "../message.ts";
import { describeProgress } from "../tracker/progress.ts";
import {
  type ConfChange,
  type ConfChangeTransition,
  MESSAGE_TYPE_NUMBERS,
  type MessageType,
  NO_LIMIT,
  type NodeId,
  type Snapshot,
  type StepError,
} from "../types.ts";
import type { Cluster } from "./cluster.ts";
import { parseConfChanges } from "./confchange-script.ts";
import type { Command } from "./datadriven.ts";

type Handler = (cluster: Cluster, command: Command) => string | void;
type Writable<T> = { -readonly [Key in keyof T]: T[Key] };
type Template = Writable<Omit<RaftConfig, "id" | "storage">>;

const HANDLERS: Readonly<Record<string, Handler>> = {
  "add-nodes": addNodes,
  // A place for a debugger to stop.
  _breakpoint: () => {},
  campaign: (cluster, command) => describeRefusal(first(cluster, command).raw.campaign()),
  compact,
  "deliver-msgs": deliverMessages,
  "process-ready": (cluster, command) =>
    eachNode(cluster, command, "handling Ready", (id) => cluster.processReady(id)),
  "process-append-thread": (cluster, command) =>
    eachNode(cluster, command, "processing append thread", (id) => cluster.processAppendThread(id)),
  "process-apply-thread": (cluster, command) =>
    eachNode(cluster, command, "processing apply thread", (id) => cluster.processApplyThread(id)),
  "log-level": (cluster, { args }) =>
    cluster.output.setLevel(args[0]?.key ?? "") ? undefined : "unknown log level",
  "raft-log": (cluster, command) => printLog(cluster, ids(command)[0] ?? 0),
  "raft-state": printStates,
  "set-randomized-election-timeout": (cluster, command) =>
    first(cluster, command).raw.setRandomizedElectionTimeout(Number(valueOf(command, "timeout"))),
  stabilize,
  status: printStatus,
  "tick-election": (cluster, command) => tick(cluster, command, (config) => config.electionTick),
  "tick-heartbeat": (cluster, command) => tick(cluster, command, (config) => config.heartbeatTick),
  "transfer-leadership": (cluster, command) =>
    cluster
      .node(Number(valueOf(command, "from")))
      .raw.transferLeader(Number(valueOf(command, "to"))),
  "forget-leader": (cluster, command) => first(cluster, command).raw.forgetLeader(),
  "send-snapshot": sendSnapshot,
  propose: (cluster, command) =>
    describeRefusal(
      first(cluster, command).raw.propose(new TextEncoder().encode(command.args[1]?.key ?? "")),
    ),
  "propose-batch": (cluster, command) =>
    describeRefusal(
      first(cluster, command).raw.proposeBatch(
        command.args.slice(1).map(({ key }) => new TextEncoder().encode(key)),
      ),
    ),
  "propose-conf-change": proposeConfChange,
  "read-index": (cluster, command) =>
    first(cluster, command).raw.readIndex(new TextEncoder().encode(command.args[1]?.key ?? "")),
  restart: (cluster, command) => cluster.restart(ids(command)[0] ?? 0),
  "report-unreachable": (cluster, command) => {
    const [on = 0, about = 0] = ids(command);
    cluster.node(on).raw.reportUnreachable(about);
  },
};

/** Runs one command and returns what it printed, like the original's handler. */
export function runInteractionCommand(cluster: Cluster, command: Command): string {
  const { output } = cluster;
  output.reset();
  const handler = HANDLERS[command.name];
  const error = handler === undefined ? "unknown command" : handler(cluster, command);
  if (typeof error === "string") {
    if (output.isQuiet) return `${error}\n`;
    output.write(error);
  }
  if (output.text === "") return "ok\n";
  return output.text.endsWith("\n") ? output.text : `${output.text}\n`;
}

function addNodes(cluster: Cluster, command: Command): string | void {
  const template: Template = {
    ...RAFT_DEFAULTS,
    logger: cluster.output,
    random: () => 0,
    electionTick: 3,
    maxSizePerMsg: NO_LIMIT,
    maxCommittedSizePerReady: NO_LIMIT,
    maxUncommittedEntriesSize: NO_LIMIT,
    maxInflightMsgs: 2 ** 31 - 1,
    checkQuorum: valueOf(command, "checkquorum") === "true",
    preVote: valueOf(command, "prevote") === "true",
    asyncStorageWrites: valueOf(command, "async-storage-writes") === "true",
    stepDownOnRemoval: valueOf(command, "step-down-on-removal") === "true",
    disableConfChangeValidation: valueOf(command, "disable-conf-change-validation") === "true",
    readOnlyOption: valueOf(command, "read-only") === "lease-based" ? "leaseBased" : "safe",
  };
  const inflight = valueOf(command, "inflight");
  const maxCommitted = valueOf(command, "max-committed-size-per-ready");
  if (inflight !== undefined) template.maxInflightMsgs = Number(inflight);
  const maxSize = valueOf(command, "max-size-per-msg");
  const maxUncommitted = valueOf(command, "max-uncommitted-size");
  if (maxSize !== undefined) template.maxSizePerMsg = Number(maxSize);
  if (maxUncommitted !== undefined) template.maxUncommittedEntriesSize = Number(maxUncommitted);
  if (maxCommitted !== undefined) template.maxCommittedSizePerReady = Number(maxCommitted);

  const index = Number(valueOf(command, "index") ?? 0);
  template.applied = index;
  const voters = (valuesOf(command, "voters") ?? []).map(Number);
  const learners = (valuesOf(command, "learners") ?? []).map(Number);
  if (voters.length + learners.length > 0 && index <= 1) {
    return "index must be specified as > 1 due to bootstrap";
  }
  const snapshot: Snapshot = {
    data: new TextEncoder().encode(valueOf(command, "content") ?? ""),
    metadata: {
      index,
      term: index > 0 ? 1 : 0,
      confState: { ...EMPTY_CONF_STATE, voters, learners },
    },
  };
  cluster.addNodes(ids(command)[0] ?? 0, template, snapshot);
}

function compact(cluster: Cluster, command: Command): string | void {
  const [id = 0, firstIndex = 0] = ids(command);
  if (!cluster.node(id).storage.compact(firstIndex)) {
    return "requested index is unavailable due to compaction";
  }
  printLog(cluster, id);
}

function deliverMessages(cluster: Cluster, command: Command): void {
  const typeName = valueOf(command, "type");
  const type = typeName !== undefined && isMessageType(typeName) ? typeName : undefined;
  let count = 0;
  for (const { key, values } of command.args) {
    if (values === undefined) count += cluster.deliver(Number(key), false, type);
    else if (key === "drop") {
      for (const id of values) count += cluster.deliver(Number(id), true, type);
    }
  }
  if (count === 0) cluster.output.write("no messages\n");
}

function stabilize(cluster: Cluster, command: Command): void {
  const { output } = cluster;
  const level = valueOf(command, "log-level");
  const before = output.level;
  if (level !== undefined) output.setLevel(level);
  cluster.stabilize(ids(command));
  output.level = before;
}

function printLog(cluster: Cluster, id: NodeId): void {
  const { storage } = cluster.node(id);
  const firstIndex = storage.firstIndex();
  const lastIndex = storage.lastIndex();
  if (lastIndex < firstIndex) {
    cluster.output.write(`log is empty: first index=${firstIndex}, last index=${lastIndex}`);
    return;
  }
  const entries = storage.entries(firstIndex, lastIndex + 1, NO_LIMIT);
  cluster.output.write(typeof entries === "string" ? entries : describeEntries(entries));
}

function printStates(cluster: Cluster): void {
  for (const { id, raw } of cluster.nodes) {
    const { config, softState, hardState } = raw.status();
    const role = config.voters.has(id) ? "(Voter)" : "(Non-Voter)";
    const state = describeState(softState.raftState);
    cluster.output.write(`${id}: ${state} ${role} Term:${hardState.term} Lead:${softState.lead}\n`);
  }
}

function printStatus(cluster: Cluster, command: Command): void {
  for (const [id, progress] of first(cluster, command).raw.status().progress) {
    cluster.output.write(`${id}: ${describeProgress(progress)}\n`);
  }
}

function tick(cluster: Cluster, command: Command, countOf: (config: RaftConfig) => number): void {
  const { raw, config } = first(cluster, command);
  for (let i = countOf(config); i > 0; i--) raw.tick();
}

function sendSnapshot(cluster: Cluster, command: Command): void {
  const [from = 0, to = 0] = ids(command);
  const { storage, raw } = cluster.node(from);
  const { term } = raw.basicStatus().hardState;
  const m = message({ type: "MsgSnap", term, from, to, snapshot: storage.snapshot() });
  cluster.inject(m);
  cluster.output.write(describeMessage(m));
}

function proposeConfChange(cluster: Cluster, command: Command): string | void {
  const changes = parseConfChanges(command.input);
  if (!changes.ok) return changes.error;
  const transition = TRANSITIONS[valueOf(command, "transition") ?? "auto"];
  if (transition === undefined) return "unknown transition";
  const context = new Uint8Array(0);
  let change: ConfChange = { version: 2, transition, changes: changes.value, context };
  if (valueOf(command, "v1") === "true") {
    const [only] = changes.value;
    if (only === undefined || changes.value.length > 1 || transition !== "auto") {
      return "v1 conf change can only have one operation and no transition";
    }
    change = { version: 1, id: 0n, ...only, context };
  }
  return describeRefusal(first(cluster, command).raw.proposeConfChange(change));
}

const TRANSITIONS: Readonly<Record<string, ConfChangeTransition>> = {
  auto: "auto",
  implicit: "jointImplicit",
  explicit: "jointExplicit",
};

function eachNode(
  cluster: Cluster,
  command: Command,
  title: string,
  body: (id: NodeId) => void,
): void {
  const targets = ids(command);
  for (const id of targets) {
    if (targets.length === 1) {
      body(id);
    } else {
      cluster.output.write(`> ${id} ${title}\n`);
      cluster.output.indent(() => body(id));
    }
  }
}

/** The bare numbers of a command: node ids, mostly. */
function ids({ args }: Command): readonly number[] {
  return args.filter((arg) => arg.values === undefined).map((arg) => Number(arg.key));
}

function first(cluster: Cluster, command: Command) {
  return cluster.node(ids(command)[0] ?? 0);
}

function valuesOf({ args }: Command, key: string): readonly string[] | undefined {
  const found = args.filter((arg) => arg.key === key);
  return found.length === 0 ? undefined : found.flatMap((arg) => arg.values ?? []);
}

function valueOf(command: Command, key: string): string | undefined {
  return valuesOf(command, key)?.[0];
}

function describeRefusal(refused: StepError | undefined): string | undefined {
  return refused === undefined ? undefined : describeStepError(refused);
}

function isMessageType(name: string): name is MessageType {
  return name in MESSAGE_TYPE_NUMBERS;
}
