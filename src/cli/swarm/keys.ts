/** `skep swarm ca`, `unlock`, `unlock-key`: the root of all certificates, and the key of locked managers. */

import { readFile } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { EngineError, messageOf } from "#base/error.ts";
import { askSilently } from "../ask.ts";
import type { Command, CommandContext } from "../command.ts";
import { readAll } from "../http.ts";
import type { FlagSpec, FlagValues } from "../pflag.ts";
import type { NodeObject, SwarmObject } from "./types.ts";

/** Between looks at how far a rotation has come. */
const LOOK_MS = 500;

export const EXTERNAL_CA_FLAG: FlagSpec = {
  name: "external-ca",
  kind: "list",
  valueName: "external-ca",
  usage: "Certificate signing endpoint (protocol=cfssl,url=https://HOST[,cacert=FILE])",
};

/** Undefined when the flag was not given. */
export async function externalCas(flags: FlagValues): Promise<readonly object[] | undefined> {
  if (!flags.has(EXTERNAL_CA_FLAG.name)) return undefined;
  return Promise.all(flags.list(EXTERNAL_CA_FLAG.name).map(externalCa));
}

async function externalCa(text: string): Promise<object> {
  const known: Record<string, string> = {};
  const options: Record<string, string> = {};
  for (const field of text.split(",")) {
    const at = field.indexOf("=");
    if (at < 0) throw invalid(`invalid field '${field}' must be a key=value pair`);
    const key = field.slice(0, at).toLowerCase();
    const value = field.slice(at + 1);
    if (key === "protocol" && value.toLowerCase() !== "cfssl") {
      throw invalid(`unrecognized external CA protocol ${value}`);
    }
    if (["protocol", "url", "cacert"].includes(key)) known[key] = value;
    else options[key] = value;
  }
  const { protocol, url, cacert } = known;
  if (protocol === undefined) throw invalid("the external-ca option needs a protocol= parameter");
  if (url === undefined) throw invalid("the external-ca option needs a url= parameter");
  const CACert = cacert === undefined ? "" : await readPem(cacert);
  return { Protocol: "cfssl", URL: url, Options: options, CACert };
}

async function readPem(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw invalid(`cannot read ${path}: ${messageOf(error)}`);
  }
}

type Json = Readonly<Record<string, unknown>>;
interface CaSwarm extends SwarmObject {
  readonly TLSInfo: { readonly TrustRoot?: string; readonly CertIssuerPublicKey?: string };
  readonly RootRotationInProgress: boolean;
}

async function ca(context: CommandContext): Promise<number> {
  const { client, flags, stdout } = context;
  if (!flags.bool("rotate")) {
    for (const name of ["ca-cert", "ca-key", "cert-expiry", "external-ca"]) {
      if (flags.has(name))
        throw invalid(`\`--${name}\` flag requires the \`--rotate\` flag to update the CA`);
    }
    const { TLSInfo } = await client.get<CaSwarm>("/swarm");
    stdout.write(TLSInfo.TrustRoot ?? "");
    return 0;
  }
  if (flags.has("ca-key") && !flags.has("ca-cert")) {
    throw invalid(
      "the --ca-key flag requires that a --ca-cert flag and/or --external-ca flag be provided as well",
    );
  }
  const { Version, Spec } = await client.get<CaSwarm>("/swarm");
  const before = (Spec["CAConfig"] ?? {}) as Json & { readonly ForceRotate?: number };
  const [cert, key] = [flags.string("ca-cert"), flags.string("ca-key")];
  const CAConfig = {
    ...before,
    ForceRotate: (before.ForceRotate ?? 0) + 1,
    NodeCertExpiry: flags.duration("cert-expiry") ?? before["NodeCertExpiry"],
    ExternalCAs: (await externalCas(flags)) ?? before["ExternalCAs"],
    SigningCACert: cert === undefined ? "" : await readPem(cert),
    SigningCAKey: key === undefined ? "" : await readPem(key),
  };
  await client.post("/swarm/update", { ...Spec, CAConfig }, { query: { version: Version.Index } });
  if (flags.bool("detach")) return 0;
  await followRotation(context);
  const { TLSInfo } = await client.get<CaSwarm>("/swarm");
  stdout.write(TLSInfo.TrustRoot ?? "");
  return 0;
}

interface CaNode extends NodeObject {
  readonly Description: NodeObject["Description"] & {
    readonly TLSInfo?: { readonly TrustRoot?: string; readonly CertIssuerPublicKey?: string };
  };
}

async function followRotation({ client, flags, stderr }: CommandContext): Promise<void> {
  let shown = "";
  for (;;) {
    const swarm = await client.get<CaSwarm>("/swarm");
    const nodes = (await client.get<readonly CaNode[]>("/nodes")).filter(
      ({ Spec }) => Spec.Membership !== "pending",
    );
    const { CertIssuerPublicKey: issuer } = swarm.TLSInfo;
    const late = nodes.filter(
      ({ Description }) => Description.TLSInfo?.CertIssuerPublicKey !== issuer,
    );
    const line = `rotated TLS certificates: ${nodes.length - late.length}/${nodes.length} nodes`;
    const down = late.filter(({ Status }) => Status.State === "down");
    const hint =
      down.length > 0 && down.length === late.length
        ? ` (waiting for nodes that are down: ${down.map(({ ID }) => ID).join(", ")}; bring them back, or remove them with 'skep node rm')`
        : "";
    if (!flags.bool("quiet") && line + hint !== shown) stderr.write(`${line}${hint}\n`);
    shown = line + hint;
    if (!swarm.RootRotationInProgress) return;
    await pause(LOOK_MS);
  }
}

async function unlock({ client, stdin, stdout }: CommandContext): Promise<number> {
  const key = stdin.isTTY
    ? await askSilently({ stdin, stdout }, "Enter unlock key: ")
    : await readAll(stdin);
  await client.post("/swarm/unlock", { UnlockKey: key.trim() });
  return 0;
}

async function unlockKey({ client, flags, stdout }: CommandContext): Promise<number> {
  if (flags.bool("rotate")) {
    const { Version, Spec } = await client.get<SwarmObject>("/swarm");
    const { AutoLockManagers } = (Spec["EncryptionConfig"] ?? {}) as {
      readonly AutoLockManagers?: boolean;
    };
    if (AutoLockManagers !== true) {
      throw new EngineError(
        "failed-precondition",
        "cannot rotate because autolock is not turned on",
      );
    }
    const query = { version: Version.Index, rotateManagerUnlockKey: "true" };
    await client.post("/swarm/update", Spec, { query });
    if (!flags.bool("quiet")) stdout.write("Successfully rotated manager unlock key.\n\n");
  }
  const { UnlockKey } = await client.get<{ readonly UnlockKey: string }>("/swarm/unlockkey");
  if (UnlockKey === "") throw new EngineError("failed-precondition", "no unlock key is set");
  stdout.write(flags.bool("quiet") ? `${UnlockKey}\n` : unlockText(UnlockKey));
  return 0;
}

/** What an operator has to keep. */
export function unlockText(key: string): string {
  return `To unlock a swarm manager after it restarts, run the \`skep swarm unlock\`
command and provide the following key:

    ${key}

Remember to store this key in a password manager, since without it you
will not be able to restart the manager.
`;
}

function invalid(message: string): EngineError {
  return new EngineError("invalid-argument", message);
}

export const COMMANDS: readonly Command[] = [
  {
    path: ["swarm", "ca"],
    usage: "[OPTIONS]",
    summary: "Show the root certificate, or replace it with --rotate",
    flags: [
      {
        name: "rotate",
        kind: "bool",
        usage: "Replace the root; without a certificate a new one is made",
      },
      {
        name: "ca-cert",
        kind: "string",
        valueName: "pem-file",
        usage: "The next root certificate",
      },
      { name: "ca-key", kind: "string", valueName: "pem-file", usage: "Its private key" },
      {
        name: "cert-expiry",
        kind: "duration",
        usage: "Validity period for node certificates",
        defaultText: "2160h0m0s",
      },
      EXTERNAL_CA_FLAG,
      { name: "detach", short: "d", kind: "bool", usage: "Do not wait until all nodes have moved" },
      { name: "quiet", short: "q", kind: "bool", usage: "Do not show how far it has come" },
    ],
    minArgs: 0,
    maxArgs: 0,
    run: ca,
  },
  {
    path: ["swarm", "unlock"],
    usage: "",
    summary: "Unlock this manager; the key is read from the terminal or standard input",
    flags: [],
    minArgs: 0,
    maxArgs: 0,
    run: unlock,
  },
  {
    path: ["swarm", "unlock-key"],
    usage: "[OPTIONS]",
    summary: "Show or replace the key that unlocks managers",
    flags: [
      { name: "quiet", short: "q", kind: "bool", usage: "Show only the key" },
      { name: "rotate", kind: "bool", usage: "Replace the key" },
    ],
    minArgs: 0,
    maxArgs: 0,
    run: unlockKey,
  },
];
