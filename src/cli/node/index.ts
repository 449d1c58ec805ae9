/** `skep node …`: the hosts of the swarm. */

import { EngineError } from "#base/error.ts";
import {
  type Command,
  type CommandContext,
  FILTER_FLAG,
  FORMAT_FLAG,
  filtersQuery,
  forEachArg,
  NO_RESOLVE_FLAG,
  NO_TRUNC_FLAG,
  QUIET_FLAG,
} from "../command.ts";
import { pairs } from "../container/run-flags.ts";
import { inspectAll } from "../inspect.ts";
import { alignColumns, formatListing } from "../output/table.ts";
import { listTasks } from "../service/ps.ts";
import { listingOptions } from "../settings.ts";
import type { NodeObject, TlsInfo } from "../swarm/types.ts";
import { explain } from "./explain.ts";
import { inspectPretty } from "./pretty.ts";

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

/** Whether a node has a certificate of the authority that is in force. */
function tlsStatus({ Description }: NodeObject, trusted: TlsInfo | undefined): string {
  const { TLSInfo } = Description;
  if (TLSInfo === undefined || trusted === undefined) return "Unknown";
  const same =
    TLSInfo.TrustRoot === trusted.TrustRoot &&
    TLSInfo.CertIssuerPublicKey === trusted.CertIssuerPublicKey &&
    TLSInfo.CertIssuerSubject === trusted.CertIssuerSubject;
  return same ? "Ready" : "Needs Rotation";
}

async function list({ client, env, flags, stderr, stdout }: CommandContext): Promise<number> {
  const nodes = await client.get<readonly NodeObject[]>("/nodes", {
    filters: filtersQuery(flags.list("filter")),
  });
  const { Swarm } = await client.get<{
    Swarm: { NodeID: string; Cluster?: { TLSInfo?: TlsInfo } | null };
  }>("/info");
  const trusted = Swarm.Cluster?.TLSInfo;
  const rows = nodes
    .map((node) => ({
      ID: node.ID,
      Self: node.ID === Swarm.NodeID,
      Hostname: node.Description.Hostname ?? "",
      Status: capital(node.Status.State),
      Availability: capital(node.Spec.Availability),
      ManagerStatus: node.ManagerStatus?.Leader
        ? "Leader"
        : capital(node.ManagerStatus?.Reachability ?? ""),
      EngineVersion: node.Description.Engine.EngineVersion ?? "",
      TLSStatus: tlsStatus(node, trusted),
      Membership: capital(node.Spec.Membership ?? "accepted"),
      KeyFingerprint: node.KeyFingerprint ?? "",
      Address: node.Status.Addr ?? "",
    }))
    .sort((a, b) => a.Hostname.localeCompare(b.Hostname, "en", { numeric: true }));
  stdout.write(
    formatListing(
      {
        table:
          "{{.ID}}{{if eq .Self true}} *{{else if eq .Self false}}  {{end}}\t{{.Hostname}}\t{{.Status}}\t{{.Availability}}\t{{.ManagerStatus}}\t{{.EngineVersion}}",
        headings: {
          ID: "ID                         ",
          Self: "",
          Hostname: "HOSTNAME",
          Status: "STATUS",
          Availability: "AVAILABILITY",
          ManagerStatus: "MANAGER STATUS",
          EngineVersion: "ENGINE VERSION",
          TLSStatus: "TLS STATUS",
          Membership: "MEMBERSHIP",
          KeyFingerprint: "KEY FINGERPRINT",
          Address: "ADDRESS",
        },
        rows,
        quietField: "ID",
      },
      listingOptions({ env, flags }, "nodesFormat"),
    ),
  );
  const waiting = rows.filter(({ Membership }) => Membership === "Pending");
  if (waiting.length > 0 && !flags.has("format") && !flags.bool("quiet")) {
    stderr.write(
      `\nWaiting for 'skep node accept' or 'skep node reject':\n${alignColumns([
        "ID\tADDRESS\tKEY FINGERPRINT",
        ...waiting.map(({ ID, Address, KeyFingerprint }) => `${ID}\t${Address}\t${KeyFingerprint}`),
      ])}`,
    );
  }
  return 0;
}

async function accept(context: CommandContext, name: string): Promise<string> {
  const { changed, id } = await updateNode(context, name, (spec) =>
    spec.Membership === "pending" ? { ...spec, Membership: "accepted" } : undefined,
  );
  return changed ? `Node ${id} accepted in the swarm.` : `Node ${id} has been accepted already.`;
}

async function reject({ client }: CommandContext, name: string): Promise<string> {
  const node = await client.get<NodeObject>(`/nodes/${name}`);
  if (node.Spec.Membership !== "pending") {
    throw new EngineError(
      "failed-precondition",
      `node ${name} has been accepted already: to take it out, use 'skep node rm'`,
    );
  }
  await client.delete(`/nodes/${node.ID}`, { force: true });
  return `Node ${node.ID} rejected.`;
}

type Spec = NodeObject["Spec"];

/** Reads the node, changes its spec, writes it back; undefined from `change` = nothing to do. */
async function updateNode(
  { client }: CommandContext,
  name: string,
  change: (spec: Spec) => Spec | undefined,
): Promise<{ readonly changed: boolean; readonly id: string }> {
  const node = await client.get<NodeObject>(`/nodes/${name}`);
  const spec = change(node.Spec);
  if (spec === undefined) return { changed: false, id: node.ID };
  await client.post(`/nodes/${node.ID}/update`, spec, { query: { version: node.Version.Index } });
  return { changed: true, id: node.ID };
}

function setRole(role: "manager" | "worker"): Command {
  const verb = role === "manager" ? "promote" : "demote";
  return {
    path: ["node", verb],
    usage: "NODE [NODE...]",
    summary: role === "manager" ? "Promote nodes to manager" : "Demote nodes from manager",
    flags: [],
    minArgs: 1,
    maxArgs: undefined,
    run: (context) =>
      forEachArg(context, async (name) => {
        const { changed, id } = await updateNode(context, name, (spec) =>
          spec.Role === role ? undefined : { ...spec, Role: role },
        );
        if (!changed) return `Node ${id} is already a ${role}.`;
        return role === "manager"
          ? `Node ${name} promoted to a manager in the swarm.`
          : `Manager ${name} demoted in the swarm.`;
      }),
  };
}

async function update(context: CommandContext): Promise<number> {
  const { args, flags, stdout } = context;
  await updateNode(context, args[0] ?? "", (spec) => {
    const labels: Record<string, string> = { ...spec.Labels, ...pairs(flags.list("label-add")) };
    for (const name of flags.list("label-rm")) {
      if (!(name in labels))
        throw new EngineError("not-found", `key ${name} doesn't exist in node's labels`);
      delete labels[name];
    }
    return {
      ...spec,
      Labels: labels,
      Role: flags.string("role") ?? spec.Role,
      Availability: flags.string("availability") ?? spec.Availability,
    };
  });
  stdout.write(`${args[0]}\n`);
  return 0;
}

export const COMMANDS: readonly Command[] = [
  {
    path: ["node", "ls"],
    aliases: ["list"],
    usage: "[OPTIONS]",
    summary: "List nodes in the swarm",
    flags: [FILTER_FLAG, FORMAT_FLAG, QUIET_FLAG],
    minArgs: 0,
    maxArgs: 0,
    run: list,
  },
  {
    path: ["node", "ps"],
    usage: "[OPTIONS] [NODE...]",
    summary: "List tasks running on one or more nodes, defaults to current node",
    flags: [FILTER_FLAG, FORMAT_FLAG, QUIET_FLAG, NO_TRUNC_FLAG, NO_RESOLVE_FLAG],
    minArgs: 0,
    maxArgs: undefined,
    run: async (context) => {
      const names = context.args.length > 0 ? context.args : ["self"];
      const nodes = await Promise.all(
        names.map((name) => context.client.get<NodeObject>(`/nodes/${name}`)),
      );
      return listTasks(
        context,
        nodes.map(({ ID }) => `node=${ID}`),
      );
    },
  },
  {
    path: ["node", "inspect"],
    usage: "[OPTIONS] self|NODE [NODE...]",
    summary: "Show a node in full",
    flags: [
      { ...FORMAT_FLAG, short: "f" },
      {
        name: "pretty",
        kind: "bool",
        usage: "Print it for people, with the tasks that the node refuses or has not brought up",
      },
    ],
    minArgs: 1,
    maxArgs: undefined,
    run: (context) =>
      context.flags.bool("pretty")
        ? inspectPretty(context)
        : inspectAll(context, "node", ["/nodes/{}"]),
  },
  {
    path: ["node", "explain"],
    usage: "[OPTIONS] self|NODE",
    summary: "Say which tasks a node refuses, or has not brought up, and why",
    flags: [{ name: "format", kind: "string", usage: '"json", or nothing for text' }],
    minArgs: 1,
    maxArgs: 1,
    run: explain,
  },
  {
    path: ["node", "update"],
    usage: "[OPTIONS] NODE",
    summary: "Update a node",
    flags: [
      {
        name: "availability",
        kind: "string",
        usage: 'Availability of the node ("active", "pause", "drain")',
      },
      { name: "role", kind: "string", usage: 'Role of the node ("worker", "manager")' },
      { name: "label-add", kind: "list", usage: "Add or update a node label (key=value)" },
      { name: "label-rm", kind: "list", usage: "Remove a node label if exists" },
    ],
    minArgs: 1,
    maxArgs: 1,
    run: update,
  },
  setRole("manager"),
  setRole("worker"),
  {
    path: ["node", "accept"],
    usage: "NODE [NODE...]",
    summary: "Let nodes into the swarm that wait to be accepted",
    flags: [],
    minArgs: 1,
    maxArgs: undefined,
    run: (context) => forEachArg(context, (name) => accept(context, name)),
  },
  {
    path: ["node", "reject"],
    usage: "NODE [NODE...]",
    summary: "Turn nodes away that wait to be accepted",
    flags: [],
    minArgs: 1,
    maxArgs: undefined,
    run: (context) => forEachArg(context, (name) => reject(context, name)),
  },
  {
    path: ["node", "rm"],
    aliases: ["remove"],
    usage: "[OPTIONS] NODE [NODE...]",
    summary: "Remove one or more nodes from the swarm",
    flags: [
      { name: "force", short: "f", kind: "bool", usage: "Force remove a node from the swarm" },
    ],
    minArgs: 1,
    maxArgs: undefined,
    run: (context) =>
      forEachArg(context, async (name) => {
        await context.client.delete(`/nodes/${name}`, { force: context.flags.bool("force") });
        return name;
      }),
  },
];
