/**
 * Which mounts a container has: binds ("src:dst:mode"), mounts in the long form, tmpfs, volumes of
 * the image and of other containers, brought into one list with one mount per destination. Pure:
 * neither paths nor volumes are looked at.
 */

import { EngineError } from "#base/error.ts";
import type { ContainerConfig, HostConfig, MountRequest } from "#wire/docker/containers.ts";
import type { MountSpec } from "./record.ts";

const PROPAGATIONS = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];
const MODES = new Set([
  "rw",
  "ro",
  "z",
  "Z",
  "nocopy",
  "cached",
  "delegated",
  "consistent",
  ...PROPAGATIONS,
]);
const VOLUME_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

const BASE: Omit<MountSpec, "type" | "source" | "destination"> = {
  readOnly: false,
  driver: "",
  mode: "",
  propagation: "",
  nonRecursive: false,
  noCopy: false,
  subpath: "",
  createSource: false,
  options: [],
  anonymous: false,
};

export interface MountInputs {
  readonly config: ContainerConfig;
  readonly hostConfig: HostConfig;
  /** Mounts of the containers in `VolumesFrom`, with the mode asked for, in order. */
  readonly inherited: readonly { readonly mounts: readonly MountSpec[]; readonly mode: string }[];
  /** Read-only binds that say nothing else leave writable what is mounted below them. */
  readonly writableBelow: boolean;
}

/** All mounts, parents before what is mounted below them. An anonymous volume has no source yet. */
export function planMounts({
  config,
  hostConfig,
  inherited,
  writableBelow,
}: MountInputs): MountSpec[] {
  const mounts = new Map<string, MountSpec>();
  // An anonymous volume stays one: it goes with the last container that has it. Later sources win over
  // what another container lends; among themselves they must not clash.
  for (const { mounts: lent, mode } of inherited) {
    for (const mount of lent) {
      const readOnly = mount.readOnly || mode.split(",").includes("ro");
      mounts.set(mount.destination, { ...mount, readOnly });
    }
  }
  const own = new Set<string>();
  const add = (mount: MountSpec) => {
    if (own.has(mount.destination)) {
      throw invalid(`Duplicate mount point: ${mount.destination}`);
    }
    own.add(mount.destination);
    mounts.set(mount.destination, mount);
  };
  for (const bind of hostConfig.Binds ?? []) add(parseBind(bind, hostConfig.VolumeDriver ?? ""));
  for (const [path, options] of Object.entries(hostConfig.Tmpfs ?? {})) {
    const destination = checkDestination(path, path, "tmpfs");
    add({
      ...BASE,
      type: "tmpfs",
      source: "",
      destination,
      options: options.split(",").filter((option) => option !== ""),
    });
  }
  for (const request of hostConfig.Mounts ?? []) add(fromRequest(request));
  for (const path of Object.keys(config.Volumes ?? {})) {
    const destination = checkDestination(path, path, "volume");
    if (mounts.has(destination)) continue;
    mounts.set(destination, {
      ...BASE,
      type: "volume",
      source: "",
      destination,
      driver: hostConfig.VolumeDriver ?? "",
      anonymous: true,
    });
  }
  const depth = (mount: MountSpec) => mount.destination.split("/").length;
  return [...mounts.values()]
    .map((mount) => withReach(mount, writableBelow))
    .sort((a, b) => depth(a) - depth(b));
}

/** What the mount itself does not say of its reach, the client's API version does. */
function withReach(mount: MountSpec, writableBelow: boolean): MountSpec {
  if (!mount.readOnly || mount.type === "tmpfs" || mount.readOnlyReach !== undefined) return mount;
  return { ...mount, readOnlyReach: writableBelow && mount.type === "bind" ? "top" : "possible" };
}

export function parseBind(text: string, driver: string): MountSpec {
  const parts = text.split(":");
  const refuse = () => invalid(`invalid volume specification: '${text}'`);
  if (parts.length > 3 || parts.some((part) => part === "")) throw refuse();
  const [first = "", second, third = ""] = parts;
  if (second === undefined) {
    const destination = checkDestination(first, text, "volume");
    return { ...BASE, type: "volume", source: "", destination, driver, anonymous: true };
  }
  const isPath = first.startsWith("/");
  const destination = checkDestination(second, text, isPath ? "bind" : "volume");
  const modes = third === "" ? [] : third.split(",");
  const propagations = modes.filter((mode) => PROPAGATIONS.includes(mode));
  const contradicts = modes.includes("ro") && modes.includes("rw");
  if (modes.some((mode) => !MODES.has(mode)) || propagations.length > 1 || contradicts) {
    throw invalid(`invalid mode: ${third}`);
  }
  if (!isPath && !VOLUME_NAME.test(first)) {
    throw invalid(
      `create ${first}: "${first}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
    );
  }
  return {
    ...BASE,
    type: isPath ? "bind" : "volume",
    source: isPath ? cleanPath(first) : first,
    destination,
    readOnly: modes.includes("ro"),
    driver: isPath ? "" : driver,
    // What docker shows of a volume that says nothing else.
    mode: third === "" && !isPath && ["", "local"].includes(driver) ? "z" : third,
    propagation: propagations[0] ?? "",
    noCopy: modes.includes("nocopy"),
    createSource: isPath,
  };
}

function fromRequest(request: MountRequest): MountSpec {
  const { Type: type, Source: source = "" } = request;
  const refuse = (why: string) => invalid(`invalid mount config for type "${type}": ${why}`);
  if (!request.Target) throw refuse("field Target must not be empty");
  const destination = checkDestination(request.Target, request.Target, type);
  const common = { ...BASE, destination, readOnly: request.ReadOnly ?? false };
  switch (type) {
    case "bind": {
      if (source === "") throw refuse("field Source must not be empty");
      if (!source.startsWith("/")) {
        throw refuse(`invalid mount path: '${source}' mount path must be absolute`);
      }
      const propagation = request.BindOptions?.Propagation ?? "";
      if (propagation !== "" && !PROPAGATIONS.includes(propagation)) {
        throw refuse(`invalid propagation mode: ${propagation}`);
      }
      return {
        ...common,
        type,
        source: cleanPath(source),
        propagation,
        nonRecursive: request.BindOptions?.NonRecursive ?? false,
        ...readOnlyReach(request, refuse),
        createSource: request.BindOptions?.CreateMountpoint ?? false,
      };
    }
    case "volume": {
      if (source !== "" && !VOLUME_NAME.test(source)) {
        throw refuse(
          `"${source}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed`,
        );
      }
      const options = request.VolumeOptions;
      const subpath = checkSubpath(options?.Subpath ?? "", refuse);
      return {
        ...common,
        type,
        source,
        // What docker shows of every volume that was asked for in the long form.
        mode: "z",
        driver: options?.DriverConfig?.Name ?? "",
        noCopy: options?.NoCopy ?? false,
        subpath,
        anonymous: source === "",
      };
    }
    case "tmpfs": {
      if (source !== "") throw refuse("field Source must not be specified");
      const {
        SizeBytes: size = 0,
        Mode: mode = 0,
        Options: extra = [],
      } = request.TmpfsOptions ?? {};
      const options = extra.map((pair) => pair.join("="));
      if (size > 0) options.push(`size=${size}`);
      if (mode > 0) options.push(`mode=${mode.toString(8)}`);
      return { ...common, type, source: "", options };
    }
    case "image": {
      if (source === "") throw refuse("field Source must not be empty");
      if (request.BindOptions) throw refuse("field BindOptions must not be specified");
      if (request.VolumeOptions) throw refuse("field VolumeOptions must not be specified");
      if (request.TmpfsOptions) throw refuse("field TmpfsOptions must not be specified");
      const subpath = checkSubpath(request.ImageOptions?.Subpath ?? "", refuse);
      return { ...common, type, source, subpath };
    }
    case "npipe":
    case "cluster":
      throw refuse("mount type is not served by this engine");
  }
  throw refuse("mount type unknown");
}

function readOnlyReach(
  { ReadOnly: readOnly = false, BindOptions: options }: MountRequest,
  refuse: (why: string) => EngineError,
): Pick<MountSpec, "readOnlyReach"> {
  const { ReadOnlyNonRecursive: top = false, ReadOnlyForceRecursive: below = false } =
    options ?? {};
  if (!top && !below) return {};
  if (!readOnly) {
    const field = top ? "ReadOnlyNonRecursive" : "ReadOnlyForceRecursive";
    throw refuse(`field ${field} needs ReadOnly`);
  }
  if (top && below) {
    throw refuse("fields ReadOnlyNonRecursive and ReadOnlyForceRecursive exclude each other");
  }
  if (below && options?.NonRecursive) {
    throw refuse("fields NonRecursive and ReadOnlyForceRecursive exclude each other");
  }
  return { readOnlyReach: top ? "top" : "below" };
}

function checkSubpath(path: string, refuse: (why: string) => EngineError): string {
  if (path.startsWith("/") || path.split("/").includes("..")) {
    throw refuse("subpath must be a relative path within the volume");
  }
  return path;
}

function checkDestination(path: string, specification: string, kind: MountRequest["Type"]): string {
  if (!path.startsWith("/")) {
    throw invalid(
      `invalid volume specification: '${specification}': invalid mount config for type "${kind}": invalid mount path: '${path}' mount path must be absolute`,
    );
  }
  const clean = cleanPath(path);
  if (clean === "/") {
    throw invalid(
      `invalid volume specification: '${specification}': invalid specification: destination can't be '/'`,
    );
  }
  return clean;
}

/** Without empty and dot segments; ".." cannot climb above the root. */
export function cleanPath(path: string): string {
  const segments: string[] = [];
  for (const segment of path.split("/")) {
    if (segment === "..") segments.pop();
    else if (segment !== "" && segment !== ".") segments.push(segment);
  }
  return `/${segments.join("/")}`;
}

function invalid(message: string): EngineError {
  return new EngineError("invalid-argument", message);
}
