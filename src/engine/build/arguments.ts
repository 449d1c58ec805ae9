/** The flags of `buildah build` for a request. */

import { EngineError } from "#base/error.ts";
import type { BuildContext } from "./context.ts";
import type { BuildNetwork } from "./network.ts";
import type { BuildRequest } from "./request.ts";

export interface BuildFiles {
  readonly context: BuildContext;
  /** Where the image's id is written. */
  readonly idFile: string;
  readonly policyFile: string;
  readonly netnsPath: string;
}

const FIXED = [
  "--format=docker",
  "--isolation=oci",
  "--layers",
  // The base image may have changed in our store; when it has not, nothing is fetched again. Not
  // "always": that refuses images by their id.
  "--pull=true",
  "--http-proxy=false",
  "--identity-label=false",
];

export function buildArguments(
  request: BuildRequest,
  network: BuildNetwork,
  files: BuildFiles,
): readonly string[] {
  return [
    "build",
    ...FIXED,
    ...given("--signature-policy", files.policyFile),
    ...given("--iidfile", files.idFile),
    ...given("--file", files.context.dockerfile),
    ...networkArguments(network, files.netnsPath),
    ...resourceArguments(request),
    ...pairs("--build-arg", request.buildArgs),
    ...pairs("--label", request.labels),
    ...request.extraHosts.flatMap((entry) => ["--add-host", hostEntry(entry, network)]),
    ...request.securityOptions.flatMap((option) => ["--security-opt", option]),
    ...given("--target", request.target),
    ...given("--platform", request.platform),
    ...(request.noCache ? ["--no-cache"] : []),
    ...(request.squash ? ["--squash"] : []),
    ...(request.forceRemove ? ["--force-rm"] : []),
    files.context.folder,
  ];
}

function hostEntry(entry: string, { gateway }: BuildNetwork): string {
  if (!entry.endsWith(":host-gateway")) return entry;
  if (gateway === undefined) {
    throw new EngineError(
      "invalid-argument",
      "unable to derive the IP value for host-gateway: the build has no network",
    );
  }
  return `${entry.slice(0, -"host-gateway".length)}${gateway}`;
}

function networkArguments(network: BuildNetwork, netnsPath: string): readonly string[] {
  return [
    "--network",
    network.mode ?? `ns:${netnsPath}`,
    ...network.nameservers.flatMap((server) => ["--dns", server]),
  ];
}

function resourceArguments(request: BuildRequest): readonly string[] {
  const { memory, memorySwap } = request;
  return [
    ...(memory > 0 ? ["--memory", `${memory}b`] : []),
    ...(memorySwap === 0 ? [] : ["--memory-swap", memorySwap < 0 ? "-1" : `${memorySwap}b`]),
    ...number("--cpu-shares", request.cpuShares),
    ...number("--cpu-period", request.cpuPeriod),
    ...number("--cpu-quota", request.cpuQuota),
    ...given("--cpuset-cpus", request.cpusetCpus),
    ...given("--cpuset-mems", request.cpusetMems),
    ...given("--cgroup-parent", request.cgroupParent),
    // Without a unit: it goes to the kernel as it is.
    ...number("--shm-size", Math.max(0, request.shmSizeBytes)),
    ...request.ulimits.flatMap(({ name, soft, hard }) => ["--ulimit", `${name}=${soft}:${hard}`]),
  ];
}

function number(flag: string, value: number): readonly string[] {
  return value === 0 ? [] : [flag, String(value)];
}

function given(flag: string, value: string): readonly string[] {
  return value === "" ? [] : [flag, value];
}

function pairs(flag: string, values: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(values).flatMap(([key, value]) => [flag, `${key}=${value}`]);
}
