/**
 * What clients' own types say of our answers, at compile time: `@types/dockerode`, and Docker's SDK for
 * Node, which is generated from the newest API. Each line names all that they describe and ours lack
 * or have otherwise; a new gap is an error, and so is one that is none any more.
 *
 * Neither tells well what may be null or absent, so that is left aside; statuses, names and values are
 * compared with dockerd's in `test/compatibility`.
 */

import type * as Sdk from "@docker/node-sdk";
import type Dockerode from "dockerode";
import { describe, expectTypeOf, test } from "vitest";
import type { Config } from "#wire/docker/configs.ts";
import type * as Containers from "#wire/docker/containers.ts";
import type { EngineEvent } from "#wire/docker/events.ts";
import type { ExecInspect } from "#wire/docker/exec.ts";
import type * as Images from "#wire/docker/images.ts";
import type * as Networks from "#wire/docker/networks.ts";
import type { Node } from "#wire/docker/nodes.ts";
import type { Secret } from "#wire/docker/secrets.ts";
import type { Service } from "#wire/docker/services.ts";
import type { Swarm } from "#wire/docker/swarm.ts";
import type { Task } from "#wire/docker/tasks.ts";
import type { VolumeInspect, VolumeList } from "#wire/docker/volumes.ts";
import type { info } from "./info.ts";
import type { diskUsage, versionOf } from "./system.ts";

type Scalar = string | number | boolean | bigint | symbol;
type IsAny<T> = 0 extends 1 & T ? true : false;
type Named<T> = keyof { [K in keyof T as string extends K ? never : K]: true };

/** Paths at which `Theirs` has a field that `Ours` lacks, or one of another type. */
type Gaps<Ours, Theirs, Path extends string = ""> =
  IsAny<Theirs> extends true
    ? never
    : [Theirs] extends [Date]
      ? GapUnless<[Ours] extends [string] ? true : false, Path>
      : [Theirs] extends [Scalar]
        ? GapUnless<[Ours] extends [Theirs] ? true : false, Path>
        : [Theirs] extends [(...args: never) => unknown]
          ? never
          : [Theirs] extends [readonly (infer Item)[]]
            ? [Ours] extends [readonly (infer Own)[]]
              ? Gaps<NonNullable<Own>, NonNullable<Item>, `${Path}[]`>
              : Path
            : InFields<Ours, Theirs, Path>;

type GapUnless<Fits extends boolean, Path extends string> = Fits extends true ? never : Path;

type InFields<Ours, Theirs, Path extends string> = string extends keyof Theirs
  ? Gaps<NonNullable<Ours[keyof Ours]>, NonNullable<Theirs[keyof Theirs]>, `${Path}.*`>
  : {
      [K in Named<Theirs> & string]: K extends keyof Ours
        ? Gaps<NonNullable<Ours[K]>, NonNullable<Theirs[K]>, `${Path}.${K}`>
        : string extends keyof Ours
          ? Gaps<NonNullable<Ours[string & keyof Ours]>, NonNullable<Theirs[K]>, `${Path}.${K}`>
          : `${Path}.${K}`;
    }[Named<Theirs> & string];

/** What dockerode's classes add to an answer. */
type Plain<T> = Omit<T, "modem" | "id" | "inspect" | "logs" | "remove" | "update">;

type Info = Awaited<ReturnType<typeof info>>;

/** Only of Windows. */
type WindowsStats =
  | ".memory_stats.commitbytes"
  | ".memory_stats.commitpeakbytes"
  | ".memory_stats.privateworkingset";
/** Of containerd's image store: `manifests=1`, and what an image's own descriptor is. */
type ImageStore = ".Descriptor" | ".Manifests";
/** We name more, or any text that a volume driver, another engine or a file says. */
type Wider =
  | ".HostConfig.Isolation"
  | ".HostConfig.CgroupnsMode"
  | ".HostConfig.LogConfig.Type"
  | ".HostConfig.Mounts[].BindOptions.Propagation"
  | ".Mounts[].Type";
/** Services' mounts: propagation is any text, images are mounted in containers only. */
type ServiceMounts<Path extends string> =
  | `${Path}.ContainerSpec.Mounts[].BindOptions.Propagation`
  | `${Path}.ContainerSpec.Mounts[].ImageOptions`;
/** Docker's description has it with another capital than its engine; and plug-ins are not run as services. */
type ServiceTask<Path extends string> =
  | `${Path}.ContainerSpec.HealthCheck`
  | `${Path}.PluginSpec`
  | ServiceMounts<Path>;
/** An item has one of the two. */
type RemovedImage = ".ImagesDeleted[].Deleted" | ".ImagesDeleted[].Untagged";

describe("as @types/dockerode has it", () => {
  test("containers", () => {
    expectTypeOf<Gaps<Containers.ContainerInspect, Dockerode.ContainerInspectInfo>>().toEqualTypeOf<
      | Exclude<
          Wider,
          ".HostConfig.Isolation" | ".HostConfig.CgroupnsMode" | ".HostConfig.LogConfig.Type"
        >
      // Gone from Docker, too.
      | ".HostConfig.DiskQuota"
      | ".HostConfig.Mounts[].Consistency"
      | ".HostConfig.Mounts[].Type"
    >();
    expectTypeOf<Gaps<Containers.ContainerSummary, Dockerode.ContainerInfo>>().toBeNever();
    expectTypeOf<Gaps<Containers.ContainerStats, Dockerode.ContainerStats>>().toEqualTypeOf<
      | WindowsStats
      | ".networks.*.endpoint_id"
      | ".networks.*.instance_id"
      // Since API 1.52.
      | ".os_type"
    >();
    expectTypeOf<
      Gaps<Containers.ContainersPruneReport, Dockerode.PruneContainersInfo>
    >().toBeNever();
    expectTypeOf<Gaps<ExecInspect, Dockerode.ExecInspectInfo>>().toBeNever();
  });

  test("images", () => {
    expectTypeOf<Gaps<Images.ImageInspect, Dockerode.ImageInspectInfo>>().toEqualTypeOf<
      ImageStore | ".RootFS.BaseLayer"
    >();
    expectTypeOf<Gaps<Images.ImageSummary, Dockerode.ImageInfo>>().toEqualTypeOf<ImageStore>();
    expectTypeOf<Gaps<Images.DistributionInspect, Dockerode.ImageDistributionInfo>>().toBeNever();
    expectTypeOf<
      Gaps<Images.ImagesPruneReport, Dockerode.PruneImagesInfo>
    >().toEqualTypeOf<RemovedImage>();
  });

  test("networks and volumes", () => {
    expectTypeOf<Gaps<Networks.NetworkInspect, Dockerode.NetworkInspectInfo>>().toBeNever();
    expectTypeOf<Gaps<Networks.NetworksPruneReport, Dockerode.PruneNetworksInfo>>().toBeNever();
    // What a volume driver says of it.
    expectTypeOf<Gaps<VolumeInspect, Dockerode.VolumeInspectInfo>>().toEqualTypeOf<".Status.*">();
  });

  test("swarms", () => {
    // An object with one member per kind, as Docker sends it.
    type Generic<Path extends string> =
      `${Path}.TaskTemplate.Resources.Reservations.GenericResources[].${"Kind" | "Value"}`;
    expectTypeOf<Gaps<Service, Plain<Dockerode.Service>>>().toEqualTypeOf<
      Generic<".Spec"> | Generic<".PreviousSpec">
    >();
    expectTypeOf<Gaps<Swarm, Dockerode.Swarm>>().toBeNever();
    expectTypeOf<Gaps<Secret, Plain<Dockerode.Secret>>>().toBeNever();
    expectTypeOf<Gaps<Config, Dockerode.ConfigInfo>>().toBeNever();
  });
});

describe("as Docker's SDK for Node has it", () => {
  test("containers", () => {
    expectTypeOf<Gaps<Containers.ContainerInspect, Sdk.ContainerInspectResponse>>().toEqualTypeOf<
      | Wider
      | ".Config.ArgsEscaped"
      | ".ImageManifestDescriptor"
      // Always null.
      | `.NetworkSettings.${"SecondaryIPAddresses" | "SecondaryIPv6Addresses"}[].${"Addr" | "PrefixLen"}`
    >();
    expectTypeOf<Gaps<Containers.ContainerSummary, Sdk.ContainerSummary>>().toEqualTypeOf<
      // Since API 1.52.
      ".Health" | ".ImageManifestDescriptor" | ".Mounts[].Type" | ".Ports[].Type" | ".State"
    >();
    expectTypeOf<
      Gaps<Containers.ContainerStats, Sdk.ContainerStatsResponse>
    >().toEqualTypeOf<WindowsStats>();
    expectTypeOf<Gaps<Containers.ContainerTop, Sdk.ContainerTopResponse>>().toBeNever();
    expectTypeOf<Gaps<Containers.FilesystemChange, Sdk.FilesystemChange>>().toBeNever();
    expectTypeOf<Gaps<Containers.ContainersPruneReport, Sdk.ContainerPruneResponse>>().toBeNever();
    expectTypeOf<Gaps<ExecInspect, Sdk.ExecInspectResponse>>().toBeNever();
  });

  test("images", () => {
    expectTypeOf<Gaps<Images.ImageInspect, Sdk.ImageInspect>>().toEqualTypeOf<ImageStore>();
    expectTypeOf<Gaps<Images.ImageSummary, Sdk.ImageSummary>>().toEqualTypeOf<ImageStore>();
    expectTypeOf<Gaps<Images.HistoryItem, Sdk.HistoryResponseItem>>().toBeNever();
    expectTypeOf<
      Gaps<Images.ImagesPruneReport, Sdk.ImagePruneResponse>
    >().toEqualTypeOf<RemovedImage>();
    expectTypeOf<
      Gaps<Images.DistributionInspect, Sdk.DistributionInspect>
    >().toEqualTypeOf<`.Descriptor.${"annotations" | "artifactType" | "data" | "platform" | "urls"}`>();
  });

  test("networks and volumes", () => {
    expectTypeOf<Gaps<Networks.NetworkInspect, Sdk.NetworkInspect>>().toBeNever();
    expectTypeOf<Gaps<Networks.NetworkInspect, Sdk.NetworkSummary>>().toBeNever();
    expectTypeOf<Gaps<Networks.NetworkCreateResponse, Sdk.NetworkCreateResponse>>().toBeNever();
    expectTypeOf<Gaps<Networks.NetworksPruneReport, Sdk.NetworkPruneResponse>>().toBeNever();
    expectTypeOf<Gaps<VolumeInspect, Sdk.Volume>>().toEqualTypeOf<".ClusterVolume">();
    expectTypeOf<
      Gaps<VolumeList, Sdk.VolumeListResponse>
    >().toEqualTypeOf<".Volumes[].ClusterVolume">();
  });

  test("swarms", () => {
    expectTypeOf<Gaps<Service, Sdk.Service>>().toEqualTypeOf<
      | ServiceTask<".Spec.TaskTemplate">
      // One type serves updates and rollbacks.
      | ".Spec.RollbackConfig.FailureAction"
      | ".UpdateStatus.State"
    >();
    expectTypeOf<Gaps<Task, Sdk.Task>>().toEqualTypeOf<
      ServiceTask<".Spec"> | ".DesiredState" | ".Status.State"
    >();
    expectTypeOf<Gaps<Swarm, Sdk.Swarm>>().toBeNever();
    expectTypeOf<Gaps<Node, Sdk.Node>>().toBeNever();
    expectTypeOf<Gaps<Secret, Sdk.Secret>>().toBeNever();
    expectTypeOf<Gaps<Config, Sdk.Config>>().toBeNever();
  });

  test("the engine", () => {
    expectTypeOf<Gaps<EngineEvent, Sdk.EventMessage>>().toEqualTypeOf<".Type">();
    // Left out where it is not on, as Docker does.
    expectTypeOf<
      Gaps<ReturnType<typeof versionOf>, Sdk.SystemVersion>
    >().toEqualTypeOf<".Experimental">();
    expectTypeOf<Gaps<Info, Sdk.SystemInfo>>().toEqualTypeOf<
      // What was configured; and what only some hosts have.
      | `.${"DefaultAddressPools" | "DiscoveredDevices" | "Isolation" | "ProductLicense"}`
      | `.${"FirewallBackend.Info" | "KernelMemoryTCP" | "Plugins.Authorization[]"}`
      | `.GenericResources[].${"DiscreteResourceSpec" | "NamedResourceSpec"}`
      | `.Runtimes.*.${"runtimeArgs" | "status"}`
      // Text of a file that says which; and the swarm's own type, which has a line above.
      | ".CgroupDriver"
      | `.Swarm.Cluster.${Named<NonNullable<Sdk.ClusterInfo>>}`
    >();
  });

  test("system df: rows as in the lists", () => {
    type Usage = Awaited<ReturnType<typeof diskUsage>>;
    expectTypeOf<
      Exclude<
        Gaps<Usage, Sdk.SystemDataUsageResponse>,
        `.${"Containers" | "Images" | "Volumes"}[]${string}`
      >
    >().toEqualTypeOf<".BuildCache[].Type">();
  });
});
