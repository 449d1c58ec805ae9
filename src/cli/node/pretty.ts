/** `node inspect --pretty`: a node for people, in the order and the words of docker's, and what it refuses. */

import type { CommandContext } from "../command.ts";
import { goTime, humanBytes } from "../output/units.ts";
import type { NodeObject } from "../swarm/types.ts";
import { ask, explanationLines } from "./explain.ts";

type Lines = readonly string[];

/** What is shown here alone. */
interface Shown extends NodeObject {
  readonly Description: NodeObject["Description"] & {
    readonly Platform?: { readonly OS?: string; readonly Architecture?: string };
    readonly Resources?: { readonly NanoCPUs?: number; readonly MemoryBytes?: number };
    readonly Engine: NodeObject["Description"]["Engine"] & {
      readonly Plugins?: readonly { readonly Type: string; readonly Name: string }[] | null;
    };
  };
}

export async function inspectPretty(context: CommandContext): Promise<number> {
  const { args, client, stdout } = context;
  for (const [index, name] of args.entries()) {
    const node = await client.get<Shown>(`/nodes/${encodeURIComponent(name)}`);
    const lines = [
      ...(index === 0 ? [] : [""]),
      ...stateLines(node),
      ...descriptionLines(node),
      ...explanationLines(node, await ask(context, node)),
    ];
    stdout.write(`${lines.join("\n")}\n`);
  }
  return 0;
}

function stateLines({ ID, CreatedAt, Spec, Description, Status, ManagerStatus }: Shown): Lines {
  const labels = Object.entries(Spec.Labels ?? {}).map(([key, value]) => ` - ${key}=${value}`);
  return [
    `ID:\t\t\t${ID}`,
    ...((Spec.Name ?? "") === "" ? [] : [`Name:\t\t\t${Spec.Name ?? ""}`]),
    ...(labels.length === 0 ? [] : ["Labels:", ...labels]),
    `Hostname:              \t${Description.Hostname ?? ""}`,
    `Joined at:             \t${goTime(CreatedAt)}`,
    "Status:",
    ` State:\t\t\t${title(Status.State)}`,
    ...((Status.Message ?? "") === "" ? [] : [` Message:\t\t${Status.Message ?? ""}`]),
    ` Availability:         \t${title(Spec.Availability)}`,
    ...((Status.Addr ?? "") === "" ? [] : [` Address:\t\t${Status.Addr ?? ""}`]),
    ...(ManagerStatus === undefined
      ? []
      : [
          "Manager Status:",
          ` Address:\t\t${ManagerStatus.Addr}`,
          ` Raft Status:\t\t${title(ManagerStatus.Reachability)}`,
          ` Leader:\t\t${ManagerStatus.Leader === true ? "Yes" : "No"}`,
        ]),
  ];
}

const NANO_CPUS_PER_CPU = 1e9;

function descriptionLines({ Description }: Shown): Lines {
  const { Platform = {}, Resources = {}, Engine, TLSInfo } = Description;
  const plugins = Engine.Plugins ?? [];
  const labels = Object.entries(Engine.Labels ?? {});
  const named = (type: string) =>
    plugins
      .filter((plugin) => plugin.Type === type)
      .map(({ Name }) => Name)
      .join(", ");
  return [
    "Platform:",
    ` Operating System:\t${Platform.OS ?? ""}`,
    ` Architecture:\t\t${Platform.Architecture ?? ""}`,
    "Resources:",
    ` CPUs:\t\t\t${Math.floor((Resources.NanoCPUs ?? 0) / NANO_CPUS_PER_CPU)}`,
    ` Memory:\t\t${humanBytes(Resources.MemoryBytes ?? 0)}`,
    ...(plugins.length === 0 ? [] : ["Plugins:"]),
    ...[...new Set(plugins.map(({ Type }) => Type))].map((type) => ` ${type}:\t\t${named(type)}`),
    `Engine Version:\t\t${Engine.EngineVersion ?? ""}`,
    ...(labels.length === 0 ? [] : ["Engine Labels:"]),
    ...labels.map(([key, value]) => ` - ${key}=${value}`),
    ...(TLSInfo === undefined
      ? []
      : [
          "TLS Info:",
          " TrustRoot:",
          TLSInfo.TrustRoot ?? "",
          ` Issuer Subject:\t${TLSInfo.CertIssuerSubject ?? ""}`,
          ` Issuer Public Key:\t${TLSInfo.CertIssuerPublicKey ?? ""}`,
        ]),
  ];
}

function title(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}
