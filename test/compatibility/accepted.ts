/**
 * Every difference between our answers and those of dockerd 20.10 that is meant, with the reason. The
 * document is made from them; a difference that no row explains fails the test, and so does a row
 * that explains nothing any more.
 */

export interface Accepted {
  /** Matched against "ENDPOINT difference". */
  readonly pattern: RegExp;
  /** `newer`: Docker 28 answers as we do. `ours`: we differ from every Docker. */
  readonly kind: "newer" | "ours";
  readonly why: string;
  /** Of one request: its path. */
  readonly path?: RegExp;
  /** The page has what the two say, in a table of its own. */
  readonly isRefusal?: boolean;
}

function newer(pattern: RegExp, why: string, path?: RegExp): Accepted {
  return { pattern, kind: "newer", why, ...(path === undefined ? {} : { path }) };
}

function ours(pattern: RegExp, why: string): Accepted {
  return { pattern, kind: "ours", why };
}

const CONTENT: readonly Accepted[] = [
  ours(
    /^POST \/build\/prune .*(CachesDeleted|SpaceReclaimed): /,
    "layers of builds are in the build cache, not kept as nameless images",
  ),
  ours(
    /^GET \/(version|info|nodes.*) .*(Platform|Components|ServerVersion|Version: |ApiVersion|MinAPIVersion|GitCommit|GoVersion|BuildTime|Commit\.|InitBinary|EngineVersion)/,
    "names and versions are this program's",
  ),
  ours(/^GET \/info ID: /, "the engine's id is 32 hexadecimal digits"),
  ours(/^GET \/(info|nodes.*) .*DriverStatus/, "tells of containerd's snapshotter"),
  ours(
    /^GET \/(info|nodes.*) .*Plugins(\.Log|\.Network|\[)/,
    "log drivers are json-file, local, journald, syslog and none; networks are those of network.md",
  ),
  newer(/BridgeNfI/, "the kernel's bridge filter is not used"),
  ours(/NGoroutines/, "there are no goroutines to count"),
  ours(/Runtimes\.io\.containerd\.runtime\.v1/, "containerd's first runtime is gone"),
  ours(/LiveRestoreEnabled/, "containers always outlive the engine"),
  newer(/SecurityOptions|MaskedPaths/, "the builtin profile of Docker 28"),
  newer(/KernelMemory/, "kernel memory limits have gone"),
  newer(/RepoDigests: \[\], not null/, "empty lists are lists"),
  newer(
    /(^| |\.|\])(Size|VirtualSize|SizeRootFs|LayersSize): \d+, not \d+/,
    "sizes are of what lies on disk",
  ),
  newer(/GraphDriver|(^| )Driver: "overlayfs"/, "containerd's snapshotter stores the layers"),
  ours(/LastTagTime/, "the time of loading counts as tagging, too"),
  newer(/DockerVersion/, "images do not tell which engine made them"),
  ours(/Parent: "", not|\/history \[1\]\.(Id|Tags)/, "images have no parents but their layers"),
  newer(/ContainerConfig\./, "the container's configuration is not kept beside the image's"),
  newer(/NetworkMode: "bridge", not "default"/, "the default network has its name"),
  newer(/RestartPolicy\.Name: "no", not ""/, "no policy has its name"),
  newer(/PortBindings: \{\}, not null/, "no ports are an empty map"),
  ours(/CgroupParent/, "the engine's default parent is shown"),
  newer(/DNSNames/, "names in DNS are shown in every version"),
  ours(/NetworkID: "HEX64", not ""/, "a network's id is told before the first start, too"),
  ours(/SandboxKey: /, "the path of the network namespace is one of /proc"),
  newer(/SandboxID: "", not/, "a stopped container has no sandbox"),
  newer(/Aliases\[\d\]: extra/, "own names are among the aliases before the first start, too"),
  ours(/(Path): "", not "DATA/, "paths are told from the first successful start on"),
  ours(/\/export \[/, "mount points and /etc/mtab are not written into the root file system"),
  newer(/IPAM\.Config\[0\]\.Gateway: extra/, "the default bridge tells its gateway"),
  ours(/bridge\.name: "skep0"/, "the default bridge is called skep0"),
  newer(/(IPAM\.Options|Labels): \{\}, not null/, "what was not said is an empty map"),
  newer(/BuildCache: \[\]/, "empty lists are lists"),
  ours(/Membership: extra|KeyFingerprint: extra/, "a node's membership and key are told"),
  newer(/ExitCode: 127, not 126/, "a program that is not there is 127"),
  ours(
    /80\/tcp\[1\]: missing|Ports\[\d\]/,
    "a port is shown for IPv6 only where the network has it",
  ),
  ours(/Mounts\[\d\]\.Source: "DATA/, "lists tell where anonymous volumes lie, too"),
  newer(/\/wait .*Error: missing/, "no error is left out"),
  newer(/ type: "application\/vnd\.docker\.raw-stream", not ""/, "logs have a content type"),
  newer(/\/attach (type|: )/, "what is not there is a refusal, not a stream"),
];

/** Words that are Docker 28's, looked up in its source. What comes first of both lists counts. */
const NEWER_REFUSALS: readonly Accepted[] = [
  newer(/"no such image: nosuch:latest"/, "the whole reference is told"),
  newer(/repository name \(library\/bad\) must be lowercase/, "the name is told"),
  newer(/^POST \/images\/\{name\}\/tag status: 400, not 500/, "the client's mistake"),
  newer(/"invalid json: (got eof|unexpected eof)/, "what is no JSON is told as such"),
  newer(/"invalid restart policy: unknown policy/, "the policies are told"),
  newer(/(message|State\.Error): "failed to create task for container: /, "the task, too, is told"),
  newer(/^POST .*\/kill message: "cannot kill container: one: invalid signal/, "which container"),
  newer(/^GET \/containers\/json message: "invalid filter/, "what is wrong with a filter is told"),
  newer(/^POST \/exec\/\{id\}\/resize message: "invalid resize height/, "which number is told"),
  newer(/\/archive status: 400, not 500/, "the client's mistake", /path=\/data\/seed/),
  newer(/\/wait (status: 400|message: extra|StatusCode: missing)/, "a bad condition is refused"),
  newer(/^DELETE \/containers\/.* message: "cannot remove container/, "its state is told"),
  newer(/^POST \/networks\/create message: "invalid (name|network config)/, "the mistake is told"),
  newer(/^POST \/networks\/create status: 400, not (409|500)/, "the client's mistake"),
  newer(/^DELETE \/networks\/.* message: .*\(name:/, "the containers are told"),
  newer(/^POST \/build\/cancel status: 400, not 500/, "the client's mistake"),
  newer(/status: 400, not 500/, "the client's mistake", /name=(nobody|wrong1)$|filters=bad/),
];

/** A status that is not Docker's is one of RFC 9110's for what happened; Docker has 500 for all. */
const OWN_REFUSALS: readonly Accepted[] = [
  ours(
    /^(POST \/auth|POST \/images\/create|GET \/images\/search|GET \/distribution\/\{name\}\/json) status: 503, not 500/,
    "a registry out of reach is a 503",
  ),
  ours(/^GET \/images\/search message: "get /, "what came of the request is told"),
  ours(/status: 400, not 500/, "a client's mistake is a 400"),
  ours(/\/disconnect status: 403, not 500/, "what is not allowed is a 403"),
  ours(/\/unpause status: 409, not 500/, "what the state does not allow is a 409"),
  ours(/ go struct field (hostname|name) of type string"/, "fields are told without Go's types"),
  ours(/"checkpoints are not supported/, "checkpoints are not served"),
  ours(/: "invalid image archive: /, "what an archive lacks is told"),
  ours(/\/attach\/ws (type|: )/, "a refusal is JSON before the upgrade, too"),
  ours(
    /^POST \/exec\/\{id\}\/start (status|type|: )/,
    "an exec that has run is refused with 409 instead of within a stream",
  ),
  ours(/\/push (status: 404|: )/, "what is not there is told before anything is sent"),
  ours(/^GET \/events (status: 400|: )/, "a filter that does not exist is refused"),
];

export const ACCEPTED: readonly Accepted[] = [
  ...CONTENT,
  ...[...NEWER_REFUSALS, ...OWN_REFUSALS].map((row) => ({ ...row, isRefusal: true })),
];
