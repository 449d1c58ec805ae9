/** A service's volumes → mounts; named volumes belong to the stack unless they are external. */

import { parseBytes } from "#base/bytes.ts";
import type { ServiceMount } from "#wire/docker/tasks.ts";
import type { Fields } from "./fields.ts";
import { Refusal } from "./refusal.ts";
import type { Namespace, Sparse } from "./stack.ts";

type Mount = Sparse<ServiceMount>;

export function mountsPart(
  service: Fields,
  volumes: ReadonlyMap<string, Fields>,
  namespace: Namespace,
): readonly Mount[] | undefined {
  const mounts = service.items("volumes").map((volume) => {
    const base: Mount = {
      Target: volume.text("target"),
      ReadOnly: volume.flag("read_only") === true ? true : undefined,
      Consistency: volume.text("consistency") as ServiceMount["Consistency"],
    };
    const type = volume.text("type") ?? "";
    onlyOwnOptions(volume, type);
    switch (type) {
      case "volume":
        return { ...base, ...named(volume, volumes, namespace) };
      case "bind":
      case "npipe":
        return { ...base, ...bind(volume, type) };
      case "tmpfs":
        return { ...base, ...tmpfs(volume) };
      case "cluster":
        return { ...base, ...cluster(volume, volumes, namespace) };
      default:
        throw new Refusal(
          "volume type must be volume, bind, tmpfs, npipe, or cluster",
          volume.at("type"),
        );
    }
  });
  const all = [
    ...mounts,
    ...(service.texts("tmpfs") ?? []).map((text) => shortTmpfs(text, service)),
  ];
  return all.length === 0 ? undefined : all;
}

/** `tmpfs: [/run, "/tmp:size=64m,mode=1777"]`, which docker's stacks pass over. */
function shortTmpfs(text: string, service: Fields): Mount {
  const colon = text.indexOf(":");
  const Target = colon < 0 ? text : text.slice(0, colon);
  let TmpfsOptions: Mount["TmpfsOptions"];
  for (const option of colon < 0 ? [] : text.slice(colon + 1).split(",")) {
    const [name, value = ""] = option.split("=");
    const size = parseBytes(value);
    if (name === "size" && size.ok) TmpfsOptions = { ...TmpfsOptions, SizeBytes: size.value };
    else if (name === "mode" && /^[0-7]+$/.test(value)) {
      TmpfsOptions = { ...TmpfsOptions, Mode: Number.parseInt(value, 8) };
    } else {
      throw new Refusal(`invalid tmpfs option ${JSON.stringify(option)}`, service.at("tmpfs"));
    }
  }
  return { Type: "tmpfs", Target, TmpfsOptions };
}

function onlyOwnOptions(volume: Fields, type: string): void {
  for (const other of ["volume", "bind", "tmpfs"]) {
    if (other === type || !volume.has(other) || (other === "bind" && type === "npipe")) continue;
    throw new Refusal(`${other} options are incompatible with type ${type}`, volume.at(other));
  }
}

function named(volume: Fields, volumes: ReadonlyMap<string, Fields>, namespace: Namespace): Mount {
  const source = volume.text("source");
  // Anonymous: the engine makes one for the container alone.
  if (source === undefined) return { Type: "volume" };
  const stackVolume = volumes.get(source);
  if (stackVolume === undefined)
    throw new Refusal(`undefined volume ${JSON.stringify(source)}`, volume.at("source"));
  const options = volume.inner("volume");
  const NoCopy = options?.flag("nocopy") === true ? true : undefined;
  const Subpath = options?.text("subpath");
  const real = stackVolume.text("name");
  if (stackVolume.flag("external") === true) {
    const VolumeOptions =
      NoCopy === undefined && Subpath === undefined ? undefined : { NoCopy, Subpath };
    return { Type: "volume", Source: real ?? source, VolumeOptions };
  }
  const driver = stackVolume.text("driver");
  const driverOptions = stackVolume.textMap("driver_opts");
  return {
    Type: "volume",
    Source: real ?? namespace.scope(source),
    VolumeOptions: {
      NoCopy,
      Subpath,
      Labels: namespace.labels(stackVolume.textMap("labels")),
      DriverConfig:
        driver === undefined && driverOptions === undefined
          ? undefined
          : { Name: driver, Options: driverOptions },
    },
  };
}

function bind(volume: Fields, type: "bind" | "npipe"): Mount {
  const Source = volume.text("source");
  if (Source === undefined)
    throw new Refusal(`invalid ${type} source, source cannot be empty`, volume.path);
  const options = volume.inner("bind");
  const Propagation = options?.text("propagation");
  const CreateMountpoint = options?.flag("create_host_path") === true ? true : undefined;
  const given = Propagation !== undefined || CreateMountpoint !== undefined;
  return {
    Type: type,
    Source,
    BindOptions: given ? { Propagation, CreateMountpoint } : undefined,
  };
}

function tmpfs(volume: Fields): Mount {
  if (volume.text("source") !== undefined) {
    throw new Refusal("invalid tmpfs source, source must be empty", volume.at("source"));
  }
  const options = volume.inner("tmpfs");
  const [SizeBytes, Mode] = [options?.positive("size"), options?.number("mode")];
  const given = SizeBytes !== undefined || Mode !== undefined;
  return { Type: "tmpfs", TmpfsOptions: given ? { SizeBytes, Mode } : undefined };
}

/** `group:NAME` names a group of cluster volumes, and is not the stack's. */
function cluster(
  volume: Fields,
  volumes: ReadonlyMap<string, Fields>,
  namespace: Namespace,
): Mount {
  const source = volume.text("source");
  if (source === undefined) {
    throw new Refusal("invalid cluster source, source cannot be empty", volume.path);
  }
  if (source.startsWith("group:")) return { Type: "cluster", Source: source, ClusterOptions: {} };
  const stackVolume = volumes.get(source);
  if (stackVolume === undefined)
    throw new Refusal(`undefined volume ${JSON.stringify(source)}`, volume.at("source"));
  const external = stackVolume.flag("external") === true;
  const Source = stackVolume.text("name") ?? (external ? source : namespace.scope(source));
  return { Type: "cluster", Source, ClusterOptions: {} };
}
