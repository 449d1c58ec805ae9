/** Devices, privileges and the like, which docker's stacks ignore: as labels that skep's nodes know. */

import { HOST_ACCESS_LABELS, parseDevice, readHostAccess } from "#model/host-access.ts";
import type { Privileges } from "#wire/docker/tasks.ts";
import type { Fields } from "./fields.ts";
import { Refusal } from "./refusal.ts";
import type { Sparse } from "./stack.ts";

export function hostAccessLabels(service: Fields): Readonly<Record<string, string>> {
  const labels: Record<string, string> = {};
  if (service.flag("privileged") === true) labels[HOST_ACCESS_LABELS.privileged] = "true";
  const devices = service.texts("devices") ?? [];
  for (const [index, device] of devices.entries()) {
    if (parseDevice(device) !== undefined && !device.includes(",")) continue;
    throw new Refusal(`invalid device ${JSON.stringify(device)}: /dev/NAME[:/dev/NAME][:rwm]`, [
      ...service.at("devices"),
      String(index),
    ]);
  }
  if (devices.length > 0) labels[HOST_ACCESS_LABELS.devices] = devices.join(",");
  for (const key of ["pid", "ipc"] as const) {
    const mode = service.text(key);
    if (mode === undefined || OWN_MODES.has(mode)) continue;
    if (mode !== "host") {
      throw new Refusal(
        `${key}: ${JSON.stringify(mode)} is not possible for a service, whose tasks run anywhere: only "host" is`,
        service.at(key),
      );
    }
    labels[HOST_ACCESS_LABELS[key]] = "host";
  }
  const parent = service.text("cgroup_parent");
  if (parent !== undefined) labels[HOST_ACCESS_LABELS.cgroupParent] = parent;
  const domain = service.text("domainname");
  if (domain !== undefined) labels[HOST_ACCESS_LABELS.domainName] = domain;
  for (const key of ["cgroup", "cgroupns_mode"]) {
    const namespace = service.text(key);
    if (namespace !== undefined) labels[HOST_ACCESS_LABELS.cgroupNamespace] = namespace;
  }
  const users = service.text("userns_mode");
  // The engine maps no users: that is what "host" asks for.
  if (users !== undefined && users !== "host") {
    throw new Refusal(
      `userns_mode: ${JSON.stringify(users)} is not possible: only "host" is`,
      service.at("userns_mode"),
    );
  }
  checkLabels(labels, service);
  const shm = service.bytes("shm_size");
  if (shm !== undefined && shm > 0) labels[HOST_ACCESS_LABELS.shmSize] = String(shm);
  return labels;
}

const KEYS: Readonly<Record<string, string>> = {
  [HOST_ACCESS_LABELS.cgroupParent]: "cgroup_parent",
  [HOST_ACCESS_LABELS.cgroupNamespace]: "cgroupns_mode",
  [HOST_ACCESS_LABELS.domainName]: "domainname",
};

/** What the managers would refuse is refused with its line. */
function checkLabels(labels: Readonly<Record<string, string>>, service: Fields): void {
  const access = readHostAccess(labels);
  if (access.ok) return;
  const label = Object.keys(KEYS).find((name) => access.error.includes(`label ${name}:`));
  throw new Refusal(
    access.error,
    label === undefined ? service.path : service.at(KEYS[label] ?? ""),
  );
}

/** What a container has anyway. */
const OWN_MODES = new Set(["private", "shareable"]);

/** `security_opt`, as far as SwarmKit's spec has fields for it. */
export function securityOptions(service: Fields): Sparse<Privileges> {
  const found: { -readonly [K in keyof Sparse<Privileges>]: Sparse<Privileges>[K] } = {};
  for (const [index, option] of (service.texts("security_opt") ?? []).entries()) {
    const cut = /[=:]/.exec(option)?.index ?? option.length;
    const [name, value] = [option.slice(0, cut), option.slice(cut + 1)];
    const label = /^(user|role|type|level):(.+)$/.exec(value);
    if (name === "no-new-privileges" && ["", "true", "false"].includes(value)) {
      found.NoNewPrivileges = value !== "false";
    } else if (name === "seccomp" && value === "unconfined") {
      found.Seccomp = { Mode: "unconfined" };
    } else if (name === "apparmor" && value === "unconfined") {
      found.AppArmor = { Mode: "disabled" };
    } else if (name === "label" && value === "disable") {
      found.SELinuxContext = { ...found.SELinuxContext, Disable: true };
    } else if (name === "label" && label?.[1] !== undefined) {
      found.SELinuxContext = { ...found.SELinuxContext, [title(label[1])]: label[2] };
    } else {
      throw new Refusal(
        `security option ${JSON.stringify(option)} is not possible for a service: no-new-privileges, seccomp=unconfined, apparmor=unconfined and label=… are`,
        [...service.at("security_opt"), String(index)],
      );
    }
  }
  return found;
}

function title(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}
