/**
 * The names of fields in request bodies of the Engine API, and which of them hold maps whose keys
 * are the user's own. A name that is missing here still works in its exact spelling.
 */

const CONTAINER_FIELDS = `
AttachStderr AttachStdin AttachStdout Annotations Binds BindOptions BlkioDeviceReadBps
BlkioDeviceReadIOps BlkioDeviceWriteBps BlkioDeviceWriteIOps BlkioWeight BlkioWeightDevice CapAdd
CapDrop Capabilities Cgroup CgroupParent CgroupPermissions CgroupnsMode Cmd Config Consistency
ConsoleSize Container ContainerIDFile Count CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime
CpuShares CpusetCpus CpusetMems CreateMountpoint Detach DetachKeys DeviceCgroupRules DeviceIDs
DeviceRequests Devices Dns DnsOptions DnsSearch Domainname Driver DriverConfig Entrypoint Env
ExposedPorts ExtraHosts Force GroupAdd Hard Healthcheck HostConfig HostIp HostPort Hostname Image ImageOptions
Init Interval IpcMode Isolation KernelMemory KernelMemoryTCP Labels Links LogConfig MacAddress
MaskedPaths MaximumRetryCount Memory MemoryReservation MemorySwap MemorySwappiness Mode Mounts Name
NanoCpus NetworkDisabled NetworkMode NetworkingConfig NoCopy NonRecursive OnBuild OomKillDisable
OomScoreAdj OpenStdin Options Path PathInContainer PathOnHost PidMode PidsLimit PortBindings
Privileged Propagation PublishAllPorts Rate ReadOnly ReadOnlyForceRecursive ReadOnlyNonRecursive
ReadonlyPaths ReadonlyRootfs RestartPolicy Retries Runtime SecurityOpt Shell ShmSize SizeBytes Soft
Source StartInterval StartPeriod StdinOnce StopSignal StopTimeout StorageOpt Subpath Sysctls Target
Test Timeout Tmpfs TmpfsOptions Tty Type UTSMode Ulimits User UsernsMode VolumeDriver VolumeOptions
Volumes VolumesFrom Weight WorkingDir
`;

const NETWORK_FIELDS = `
Aliases Attachable AuxiliaryAddresses CheckDuplicate ClusterVolumeSpec ConfigFrom ConfigOnly DNSNames
DriverOpts EnableIPv4 EnableIPv6 EndpointConfig EndpointID EndpointsConfig Gateway GlobalIPv6Address
GlobalIPv6PrefixLen GwPriority IPAM IPAMConfig IPAddress IPPrefixLen IPRange IPv4Address IPv6Address
IPv6Gateway Ingress Internal LinkLocalIPs Network NetworkID Scope Subnet
`;

const SWARM_FIELDS = `
AcceptanceStates AccessMode AdvertiseAddr AppArmor Args AutoLockManagers Availability CACert CAConfig
Command Concurrent Condition ConfigID ConfigName Configs Constraints ContainerSpec CredentialSpec
CurrentVersion DNSConfig Data DataPathAddr DataPathPort DefaultAddrPool Delay Dir
DiscreteResourceSpec Dispatcher ElectionTick EncryptionConfig EndpointSpec ExternalCAs
FailureAction File ForceNewCluster ForceRotate ForceUpdate GID GenericResources Global GlobalJob
Groups HeartbeatPeriod HeartbeatTick Hosts JoinToken KeepOldSnapshots Kind Level LogDriver
LogEntriesForSlowFollowers ListenAddr MaxAttempts MaxConcurrent MaxFailureRatio MaxReplicas
MemoryBytes Monitor NameServers NanoCPUs NamedResourceSpec Networks NoNewPrivileges
NodeCertExpiry NodeID Orchestration Order Parallelism Pids Placement Platforms PluginSpec Ports
Preferences Protocol PublishMode PublishedPort Raft Registry RemoteAddrs Replicas Replicated
ReplicatedJob Reservations Resources Role RollbackConfig Search Seccomp SecretID SecretName Secrets
SELinuxContext SigningCACert SigningCAKey SnapshotInterval Spec SpreadDescriptor Spread SubnetSize
TargetPort TaskHistoryRetentionLimit TaskTemplate Templating TotalCompletions UID UnlockKey
UpdateConfig Value Window Limits Architecture OS Privileges
`;

export const FIELD_NAMES: readonly string[] = [
  ...new Set(`${CONTAINER_FIELDS} ${NETWORK_FIELDS} ${SWARM_FIELDS}`.trim().split(/\s+/)),
];

export const MAP_FIELDS: ReadonlySet<string> = new Set([
  "Annotations",
  "AuxiliaryAddresses",
  "Config",
  "DriverOpts",
  "EndpointsConfig",
  "ExposedPorts",
  "Labels",
  "Options",
  "PortBindings",
  "StorageOpt",
  "Sysctls",
  "Tmpfs",
  "Volumes",
]);
