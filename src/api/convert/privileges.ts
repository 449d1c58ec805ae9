/** Privileges of service containers: credential specs, SELinux, seccomp, AppArmor. */

import { create } from "@bufbuild/protobuf";
import type { Privileges as PrivilegesJson } from "#wire/docker/tasks.ts";
import {
  Privileges_AppArmorOpts_AppArmorMode as AppArmorMode,
  type Privileges,
  type Privileges_AppArmorOpts,
  Privileges_AppArmorOptsSchema,
  type Privileges_CredentialSpec,
  Privileges_CredentialSpecSchema,
  type Privileges_SELinuxContext,
  Privileges_SELinuxContextSchema,
  type Privileges_SeccompOpts,
  Privileges_SeccompOptsSchema,
  PrivilegesSchema,
  Privileges_SeccompOpts_SeccompMode as SeccompMode,
} from "#wire/gen/swarmkit/types_pb.js";
import type { JsonObject } from "./read-json.ts";
import { invalid, named, nameOf } from "./refusal.ts";
import { base64OrNone, compact } from "./write-json.ts";

const SECCOMP_MODES = {
  default: SeccompMode.DEFAULT,
  unconfined: SeccompMode.UNCONFINED,
  custom: SeccompMode.CUSTOM,
} as const;

const APPARMOR_MODES = {
  default: AppArmorMode.DEFAULT,
  disabled: AppArmorMode.DISABLED,
} as const;

export function privilegesFromJson(json: JsonObject): Privileges {
  const since44 = json.since(44);
  return create(PrivilegesSchema, {
    credentialSpec: credentialsFromJson(json.object("CredentialSpec")),
    selinuxContext: selinuxFromJson(json.object("SELinuxContext")),
    seccomp: seccompFromJson(since44.object("Seccomp")),
    apparmor: appArmorFromJson(since44.object("AppArmor")),
    noNewPrivileges: since44.flag("NoNewPrivileges"),
  });
}

export function privilegesToJson(privileges: Privileges): PrivilegesJson {
  const { credentialSpec, selinuxContext, seccomp, apparmor } = privileges;
  return compact({
    CredentialSpec: credentialSpec === undefined ? null : credentialsToJson(credentialSpec),
    SELinuxContext: selinuxContext === undefined ? null : selinuxToJson(selinuxContext),
    Seccomp: seccomp && seccompToJson(seccomp),
    AppArmor: apparmor && { Mode: nameOf(APPARMOR_MODES, apparmor.mode, "default") },
    NoNewPrivileges: privileges.noNewPrivileges,
  });
}

function credentialsFromJson(json: JsonObject | undefined): Privileges_CredentialSpec | undefined {
  if (json === undefined) return undefined;
  const sources = (
    [
      ["config", json.since(40).text("Config")],
      ["file", json.text("File")],
      ["registry", json.text("Registry")],
    ] as const
  ).filter(([, value]) => value !== "");
  const [source] = sources;
  if (source === undefined) {
    throw invalid(
      'invalid CredentialSpec: must either provide "file", "registry", or "config" for credential spec',
    );
  }
  if (sources.length > 1) {
    const names = sources.map(([name]) => `"${name}"`);
    const last = names.pop();
    const both =
      sources.length > 2 ? `${names.join(", ")}, and ${last}` : `${names[0]} and ${last}`;
    throw invalid(`invalid CredentialSpec: cannot specify both ${both} credential specs`);
  }
  const [name, value] = source;
  return create(Privileges_CredentialSpecSchema, { source: { case: name, value } });
}

function credentialsToJson({ source }: Privileges_CredentialSpec) {
  return {
    Config: source.case === "config" ? source.value : "",
    File: source.case === "file" ? source.value : "",
    Registry: source.case === "registry" ? source.value : "",
  };
}

function selinuxFromJson(json: JsonObject | undefined): Privileges_SELinuxContext | undefined {
  if (json === undefined) return undefined;
  return create(Privileges_SELinuxContextSchema, {
    disable: json.flag("Disable"),
    user: json.text("User"),
    role: json.text("Role"),
    type: json.text("Type"),
    level: json.text("Level"),
  });
}

function selinuxToJson(context: Privileges_SELinuxContext) {
  const { disable, user, role, type, level } = context;
  return { Disable: disable, User: user, Role: role, Type: type, Level: level };
}

function seccompFromJson(json: JsonObject | undefined): Privileges_SeccompOpts | undefined {
  if (json === undefined) return undefined;
  const mode = named(
    SECCOMP_MODES,
    json.text("Mode"),
    SeccompMode.DEFAULT,
    (v) => `invalid Seccomp: unknown seccomp mode ${v}`,
  );
  const profile = json.bytes("Profile");
  if (mode === SeccompMode.CUSTOM && profile.length === 0) {
    throw invalid("invalid Seccomp: mode custom needs a profile");
  }
  if (mode !== SeccompMode.CUSTOM && profile.length > 0) {
    throw invalid("invalid Seccomp: a profile needs mode custom");
  }
  return create(Privileges_SeccompOptsSchema, { mode, profile });
}

function seccompToJson(options: Privileges_SeccompOpts) {
  return compact({
    Mode: nameOf(SECCOMP_MODES, options.mode, "default"),
    Profile: base64OrNone(options.profile),
  });
}

function appArmorFromJson(json: JsonObject | undefined): Privileges_AppArmorOpts | undefined {
  if (json === undefined) return undefined;
  const refusal = (value: string) => `invalid AppArmor: unknown AppArmor mode ${value}`;
  const mode = named(APPARMOR_MODES, json.text("Mode"), AppArmorMode.DEFAULT, refusal);
  return create(Privileges_AppArmorOptsSchema, { mode });
}
