/** A service's container: everything of ContainerSpec but mounts, secrets and configs. */

import type { ContainerSpec } from "#wire/docker/tasks.ts";
import { familiarReference, parseReference, withDefaultTag } from "#wire/reference.ts";
import type { Fields } from "./fields.ts";
import { hostAccessLabels } from "./host-access-part.ts";
import { Refusal } from "./refusal.ts";
import type { Namespace, Sparse } from "./stack.ts";

export function containerPart(service: Fields, namespace: Namespace): Sparse<ContainerSpec> {
  const { add, drop } = capabilities(service);
  return {
    Image: imageOf(service),
    Command: service.texts("entrypoint"),
    Args: service.texts("command"),
    Hostname: service.text("hostname"),
    Hosts: service.texts("extra_hosts")?.map(hostLine),
    DNSConfig: dns(service),
    Healthcheck: healthcheck(service.inner("healthcheck")),
    Env: environment(service),
    Labels: { ...namespace.labels(service.textMap("labels")), ...hostAccessLabels(service) },
    Dir: service.text("working_dir"),
    User: service.text("user"),
    Groups: service.texts("group_add"),
    StopGracePeriod: service.duration("stop_grace_period"),
    StopSignal: service.text("stop_signal"),
    TTY: service.flag("tty") === true ? true : undefined,
    OpenStdin: service.flag("stdin_open") === true ? true : undefined,
    ReadOnly: service.flag("read_only") === true ? true : undefined,
    Init: service.flag("init"),
    // Checked by the engine, as docker leaves it.
    Isolation: service.text("isolation") as ContainerSpec["Isolation"],
    Sysctls: service.textMap("sysctls"),
    CapabilityAdd: add,
    CapabilityDrop: drop,
    Ulimits: ulimits(service),
    OomScoreAdj: service.positive("oom_score_adj"),
  };
}

function imageOf(service: Fields): string {
  const written = service.text("image");
  if (written === undefined) {
    const name = service.path.at(-1) ?? "";
    throw new Refusal(
      `invalid image reference for service ${name}: no image specified`,
      service.path,
    );
  }
  const parsed = parseReference(written);
  // An image's id is no reference, and is passed on as it is.
  return parsed.ok ? familiarReference(withDefaultTag(parsed.value)) : written;
}

/** "name:address" → "address name". */
function hostLine(entry: string): string {
  const colon = entry.indexOf(":");
  return `${entry.slice(colon + 1)} ${entry.slice(0, colon)}`;
}

function dns(service: Fields): Sparse<ContainerSpec["DNSConfig"]> | undefined {
  const Nameservers = service.texts("dns");
  const Search = service.texts("dns_search");
  const Options = service.texts("dns_opt");
  if (Nameservers === undefined && Search === undefined && Options === undefined) return undefined;
  return { Nameservers, Search, Options };
}

function healthcheck(fields: Fields | undefined): Sparse<ContainerSpec["Healthcheck"]> | undefined {
  if (fields === undefined) return undefined;
  const test = fields.texts("test");
  if (fields.flag("disable") === true) {
    if (test !== undefined && test.length > 0) {
      throw new Refusal("test and disable can't be set at the same time", fields.at("disable"));
    }
    return { Test: ["NONE"] };
  }
  return {
    Test: test,
    Interval: fields.duration("interval"),
    Timeout: fields.duration("timeout"),
    StartPeriod: fields.duration("start_period"),
    StartInterval: fields.duration("start_interval"),
    Retries: fields.number("retries"),
  };
}

/** Sorted; a variable without a value is its name alone, which removes the image's. */
function environment(service: Fields): readonly string[] | undefined {
  const values = service.entries("environment");
  if (values.length === 0) return undefined;
  const fields = service.inner("environment");
  return values
    .map(([name]) => (fields?.has(name) === true ? `${name}=${fields.text(name) ?? ""}` : name))
    .sort();
}

/** Sorted and in the kernel's names; what is added is not dropped. */
function capabilities(service: Fields): {
  readonly add: readonly string[] | undefined;
  readonly drop: readonly string[] | undefined;
} {
  const normal = (key: string) => {
    const names = (service.texts(key) ?? []).map((name) => {
      const upper = name.trim().toUpperCase();
      return upper === "ALL" || upper === "RESET" || upper.startsWith("CAP_")
        ? upper
        : `CAP_${upper}`;
    });
    return new Set(names.includes("ALL") ? ["ALL"] : names);
  };
  const add = normal("cap_add");
  const drop = [...normal("cap_drop")].filter((name) => !add.has(name));
  const orNone = (names: readonly string[]) => (names.length === 0 ? undefined : [...names].sort());
  return { add: orNone([...add]), drop: orNone(drop) };
}

function ulimits(service: Fields): ContainerSpec["Ulimits"] | undefined {
  const entries = service.entries("ulimits");
  if (entries.length === 0) return undefined;
  const single = service.inner("ulimits");
  return entries
    .map(([Name, both]) => {
      const one = single?.number(Name);
      return { Name, Soft: one ?? both.number("soft") ?? 0, Hard: one ?? both.number("hard") ?? 0 };
    })
    .sort((a, b) => (a.Name < b.Name ? -1 : 1));
}
