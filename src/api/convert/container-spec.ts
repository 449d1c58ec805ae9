/** The container template of a service. Nothing of it is lost on the way there and back. */

import { create } from "@bufbuild/protobuf";
import type { HealthConfig as HealthJson } from "#wire/docker/containers.ts";
import type { ContainerSpec as ContainerSpecJson } from "#wire/docker/tasks.ts";
import {
  type ContainerSpec,
  type ContainerSpec_DNSConfig,
  ContainerSpec_DNSConfigSchema,
  ContainerSpec_UlimitSchema,
  ContainerSpecSchema,
  ContainerSpec_Isolation as Isolation,
} from "#wire/gen/swarmkit/specs_pb.js";
import { type HealthConfig, HealthConfigSchema } from "#wire/gen/swarmkit/types_pb.js";
import { durationFromJson, durationOf } from "./common.ts";
import { mountFromJson, mountToJson } from "./mounts.ts";
import { privilegesFromJson, privilegesToJson } from "./privileges.ts";
import type { JsonObject } from "./read-json.ts";
import {
  configReferenceFromJson,
  configReferencesToJson,
  secretReferenceFromJson,
  secretReferencesToJson,
} from "./references.ts";
import { named, nameOf } from "./refusal.ts";
import {
  compact,
  listOrNone,
  mapOrNone,
  nanosecondsOf,
  numberOrNone,
  textOrNone,
  trueOrNone,
} from "./write-json.ts";

const ISOLATIONS = {
  default: Isolation.DEFAULT,
  process: Isolation.PROCESS,
  hyperv: Isolation.HYPERV,
} as const;

/** `pids` is kept here although the API shows it among the resources. */
export function containerSpecFromJson(json: JsonObject, pids: bigint): ContainerSpec {
  const privileges = json.object("Privileges");
  const health = json.object("Healthcheck");
  const since41 = json.since(41);
  return create(ContainerSpecSchema, {
    image: json.text("Image"),
    labels: json.map("Labels"),
    command: json.texts("Command"),
    args: json.texts("Args"),
    hostname: json.text("Hostname"),
    env: json.texts("Env"),
    dir: json.text("Dir"),
    user: json.text("User"),
    groups: json.texts("Groups"),
    privileges: privileges && privilegesFromJson(privileges),
    init: json.optionalFlag("Init"),
    stopSignal: json.text("StopSignal"),
    tty: json.flag("TTY"),
    openStdin: json.flag("OpenStdin"),
    readOnly: json.flag("ReadOnly"),
    mounts: json.objects("Mounts").map(mountFromJson),
    stopGracePeriod: durationFromJson(json, "StopGracePeriod"),
    healthcheck: health && healthFromJson(health),
    hosts: json.texts("Hosts"),
    dnsConfig: dnsFromJson(json.object("DNSConfig")),
    secrets: json.objects("Secrets").map(secretReferenceFromJson),
    configs: json.objects("Configs").map(configReferenceFromJson),
    isolation: named(
      ISOLATIONS,
      json.text("Isolation"),
      Isolation.DEFAULT,
      (value) => `invalid isolation: ${value}`,
    ),
    pidsLimit: pids,
    sysctls: json.since(40).map("Sysctls"),
    capabilityAdd: since41.texts("CapabilityAdd"),
    capabilityDrop: since41.texts("CapabilityDrop"),
    ulimits: since41.objects("Ulimits").map((limit) =>
      create(ContainerSpec_UlimitSchema, {
        name: limit.text("Name"),
        soft: limit.int64("Soft"),
        hard: limit.int64("Hard"),
      }),
    ),
    oomScoreAdj: json.since(46).int64("OomScoreAdj"),
  });
}

export function containerSpecToJson(spec: ContainerSpec): ContainerSpecJson {
  const { privileges, dnsConfig, healthcheck, stopGracePeriod } = spec;
  return compact({
    Image: textOrNone(spec.image),
    Labels: mapOrNone(spec.labels),
    Command: listOrNone(spec.command),
    Args: listOrNone(spec.args),
    Hostname: textOrNone(spec.hostname),
    Env: listOrNone(spec.env),
    Dir: textOrNone(spec.dir),
    User: textOrNone(spec.user),
    Groups: listOrNone(spec.groups),
    Privileges: privileges && privilegesToJson(privileges),
    Init: spec.init,
    StopSignal: textOrNone(spec.stopSignal),
    TTY: trueOrNone(spec.tty),
    OpenStdin: trueOrNone(spec.openStdin),
    ReadOnly: trueOrNone(spec.readOnly),
    Mounts: listOrNone(spec.mounts.map(mountToJson)),
    StopGracePeriod: stopGracePeriod && nanosecondsOf(stopGracePeriod),
    Healthcheck: healthcheck && healthToJson(healthcheck),
    Hosts: listOrNone(spec.hosts),
    DNSConfig: dnsConfig && dnsToJson(dnsConfig),
    Secrets: listOrNone(secretReferencesToJson(spec.secrets)),
    Configs: listOrNone(configReferencesToJson(spec.configs)),
    Isolation: nameOf(ISOLATIONS, spec.isolation, "default"),
    Sysctls: mapOrNone(spec.sysctls),
    CapabilityAdd: listOrNone(spec.capabilityAdd),
    CapabilityDrop: listOrNone(spec.capabilityDrop),
    Ulimits: listOrNone(
      spec.ulimits.map(({ name, soft, hard }) => ({
        Name: name,
        Soft: Number(soft),
        Hard: Number(hard),
      })),
    ),
    OomScoreAdj: numberOrNone(spec.oomScoreAdj),
  });
}

function dnsFromJson(json: JsonObject | undefined): ContainerSpec_DNSConfig | undefined {
  if (json === undefined) return undefined;
  return create(ContainerSpec_DNSConfigSchema, {
    nameservers: json.texts("Nameservers"),
    search: json.texts("Search"),
    options: json.texts("Options"),
  });
}

function dnsToJson(config: ContainerSpec_DNSConfig) {
  return compact({
    Nameservers: listOrNone(config.nameservers),
    Search: listOrNone(config.search),
    Options: listOrNone(config.options),
  });
}

function healthFromJson(json: JsonObject): HealthConfig {
  return create(HealthConfigSchema, {
    test: json.texts("Test"),
    interval: durationOf(json.int64("Interval")),
    timeout: durationOf(json.int64("Timeout")),
    retries: json.int32("Retries"),
    startPeriod: durationOf(json.int64("StartPeriod")),
    startInterval: durationOf(json.since(44).int64("StartInterval")),
  });
}

function healthToJson(health: HealthConfig): HealthJson {
  const { interval, timeout, startPeriod, startInterval } = health;
  return compact({
    Test: listOrNone(health.test),
    Interval: numberOrNone(interval ? nanosecondsOf(interval) : 0),
    Timeout: numberOrNone(timeout ? nanosecondsOf(timeout) : 0),
    StartPeriod: numberOrNone(startPeriod ? nanosecondsOf(startPeriod) : 0),
    StartInterval: numberOrNone(startInterval ? nanosecondsOf(startInterval) : 0),
    Retries: numberOrNone(health.retries),
  });
}
