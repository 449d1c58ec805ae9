/**
 * What may stand in a Compose file: the keys of the version 3 formats with the minor version that
 * brought each, as docker's CLI accepts them. Only the shape; what values mean is read elsewhere.
 */

/** Newest minor version of the format 3. */
export const NEWEST_MINOR = 13;
/** Of a file without a version: the newest format, and what today's has beyond it that we honour. */
export const TODAY = NEWEST_MINOR + 1;

export type TypeName = "null" | "boolean" | "integer" | "number" | "string" | "array" | "object";

export type Schema =
  | { readonly kind: "any" }
  | { readonly kind: "scalar"; readonly types: readonly TypeName[]; readonly minimum?: number }
  | { readonly kind: "list"; readonly items: Schema }
  | { readonly kind: "map"; readonly values: Schema }
  | {
      readonly kind: "object";
      readonly keys: Readonly<Record<string, Key>>;
      /** Minor version from which `x-…` keys may stand here. */
      readonly extensions?: number;
      readonly required?: readonly string[];
      readonly orNull?: boolean;
    }
  /** The alternative whose type is the value's own; the first one names what was expected. */
  | { readonly kind: "oneOf"; readonly options: readonly Schema[] };

/** A key since 3.0, or since the named minor version. */
type Key = Schema | { readonly since: number; readonly schema: Schema };

const any: Schema = { kind: "any" };
const scalar = (...types: readonly TypeName[]): Schema => ({ kind: "scalar", types });
const text = scalar("string");
const integer = scalar("integer");
const bool = scalar("boolean");
const textOrNumber = scalar("string", "number");
const list = (items: Schema): Schema => ({ kind: "list", items });
const map = (values: Schema): Schema => ({ kind: "map", values });
const oneOf = (...options: readonly Schema[]): Schema => ({ kind: "oneOf", options });
const object = (
  keys: Readonly<Record<string, Key>>,
  more: {
    readonly extensions?: number;
    readonly required?: readonly string[];
    readonly orNull?: boolean;
  } = {},
): Schema => ({ kind: "object", keys, ...more });
const since = (minor: number, schema: Schema): Key => ({ since: minor, schema });

const texts = list(text);
const textOrTexts = oneOf(text, texts);
const textsOrNumbers = list(textOrNumber);
const listOrMap = oneOf(map(scalar("string", "number", "null")), texts);
const optionMap = map(textOrNumber);
const duration = text;
const external = oneOf(bool, object({ name: text }));

const HEALTHCHECK = object({
  disable: bool,
  interval: duration,
  retries: scalar("number"),
  test: textOrTexts,
  timeout: duration,
  start_period: since(4, duration),
  start_interval: since(12, duration),
});

const updateConfig = object({
  parallelism: integer,
  delay: duration,
  failure_action: text,
  monitor: duration,
  max_failure_ratio: scalar("number"),
  order: since(4, text),
});

const GENERIC_RESOURCES = list(
  object({ discrete_resource_spec: object({ kind: text, value: scalar("number") }) }),
);

const DEPLOY = object(
  {
    mode: text,
    endpoint_mode: since(2, text),
    replicas: integer,
    labels: listOrMap,
    rollback_config: since(7, updateConfig),
    update_config: updateConfig,
    resources: object({
      limits: object({ cpus: textOrNumber, memory: text, pids: since(9, integer) }),
      reservations: object({
        cpus: textOrNumber,
        memory: text,
        generic_resources: since(5, GENERIC_RESOURCES),
      }),
    }),
    restart_policy: object({
      condition: text,
      delay: duration,
      max_attempts: integer,
      window: duration,
    }),
    placement: object({
      constraints: texts,
      preferences: since(3, list(object({ spread: text }))),
      max_replicas_per_node: since(8, integer),
    }),
  },
  { orNull: true },
);

const FILE_REFERENCE = object({
  source: text,
  target: text,
  uid: text,
  gid: text,
  mode: scalar("number"),
});
const fileReferences = list(oneOf(text, FILE_REFERENCE));

const LONG_PORT = object({
  mode: text,
  target: integer,
  published: oneOf(integer, text),
  protocol: text,
  name: since(TODAY, text),
  app_protocol: since(TODAY, text),
  host_ip: since(TODAY, text),
});

const LONG_VOLUME = object(
  {
    type: text,
    source: text,
    target: text,
    read_only: bool,
    consistency: text,
    bind: object({ propagation: text, create_host_path: since(TODAY, bool) }),
    volume: object({ nocopy: bool, subpath: since(13, text) }),
    tmpfs: since(
      6,
      object({
        size: { kind: "scalar", types: ["integer"], minimum: 0 },
        mode: since(TODAY, integer),
      }),
    ),
    cluster: since(10, any),
  },
  { required: ["type"] },
);

const SERVICE_NETWORKS = oneOf(
  texts,
  map(
    object(
      {
        aliases: texts,
        ipv4_address: text,
        ipv6_address: text,
        driver_opts: since(13, optionMap),
        gw_priority: since(TODAY, any),
        interface_name: since(TODAY, text),
        link_local_ips: since(TODAY, texts),
        mac_address: since(TODAY, text),
        priority: since(TODAY, any),
      },
      { orNull: true },
    ),
  ),
);

const ENV_FILE: Schema = object(
  { path: text, required: since(TODAY, bool) },
  { required: ["path"] },
);

const SERVICE = object(
  {
    annotations: since(TODAY, listOrMap),
    attach: since(TODAY, any),
    build: any,
    cap_add: texts,
    cap_drop: texts,
    cgroup: since(TODAY, text),
    cgroup_parent: text,
    cgroupns_mode: since(9, text),
    command: oneOf(text, texts, scalar("null")),
    configs: since(3, fileReferences),
    container_name: text,
    cpus: since(TODAY, textOrNumber),
    credential_spec: since(3, object({ config: since(8, text), file: text, registry: text })),
    depends_on: oneOf(texts, map(object({ condition: text, restart: bool, required: bool }))),
    deploy: DEPLOY,
    develop: since(TODAY, any),
    devices: texts,
    dns: textOrTexts,
    dns_opt: since(TODAY, textOrTexts),
    dns_search: textOrTexts,
    domainname: text,
    entrypoint: oneOf(text, texts, scalar("null")),
    env_file: oneOf(text, list(oneOf(text, ENV_FILE))),
    environment: listOrMap,
    expose: textsOrNumbers,
    extends: since(
      TODAY,
      oneOf(text, object({ service: text, file: text }, { required: ["service"] })),
    ),
    external_links: texts,
    extra_hosts: listOrMap,
    group_add: since(TODAY, textsOrNumbers),
    healthcheck: HEALTHCHECK,
    hostname: text,
    image: text,
    init: since(7, bool),
    ipc: text,
    isolation: since(5, text),
    labels: listOrMap,
    links: texts,
    logging: object({ driver: text, options: map(scalar("string", "number", "null")) }),
    mac_address: text,
    mem_limit: since(TODAY, textOrNumber),
    mem_reservation: since(TODAY, textOrNumber),
    mem_swappiness: since(TODAY, integer),
    memswap_limit: since(TODAY, textOrNumber),
    network_mode: text,
    networks: SERVICE_NETWORKS,
    oom_score_adj: since(13, integer),
    pid: scalar("string", "null"),
    pids_limit: since(TODAY, integer),
    platform: since(TODAY, text),
    ports: list(oneOf(textOrNumber, LONG_PORT)),
    privileged: bool,
    profiles: since(TODAY, texts),
    pull_policy: since(TODAY, text),
    pull_refresh_after: since(TODAY, text),
    read_only: bool,
    restart: text,
    scale: since(TODAY, integer),
    secrets: since(1, fileReferences),
    security_opt: texts,
    shm_size: textOrNumber,
    stdin_open: bool,
    stop_grace_period: duration,
    stop_signal: text,
    sysctls: listOrMap,
    tmpfs: textOrTexts,
    tty: bool,
    ulimits: map(
      oneOf(integer, object({ hard: integer, soft: integer }, { required: ["soft", "hard"] })),
    ),
    user: text,
    userns_mode: text,
    volumes: list(oneOf(text, LONG_VOLUME)),
    working_dir: text,
  },
  { extensions: 7 },
);

const NETWORK = object(
  {
    name: since(5, text),
    driver: text,
    driver_opts: optionMap,
    ipam: object({
      driver: text,
      config: list(
        object({
          subnet: text,
          aux_addresses: since(TODAY, map(text)),
          gateway: since(TODAY, text),
          ip_range: since(TODAY, text),
        }),
      ),
      options: since(TODAY, optionMap),
    }),
    external,
    enable_ipv4: since(TODAY, bool),
    enable_ipv6: since(TODAY, bool),
    internal: bool,
    attachable: since(2, bool),
    labels: listOrMap,
  },
  { extensions: 7, orNull: true },
);

const VOLUME = object(
  {
    name: since(4, text),
    driver: text,
    driver_opts: optionMap,
    external,
    labels: listOrMap,
    "x-cluster-spec": since(10, any),
  },
  { extensions: 7, orNull: true },
);

const SECRET = object(
  {
    name: since(5, text),
    file: text,
    environment: since(TODAY, text),
    external,
    labels: listOrMap,
    driver: since(8, text),
    driver_opts: since(8, optionMap),
    template_driver: since(8, text),
  },
  { extensions: 7 },
);

const CONFIG = object(
  {
    name: since(5, text),
    file: text,
    content: since(TODAY, text),
    environment: since(TODAY, text),
    external,
    labels: listOrMap,
    template_driver: since(8, text),
  },
  { extensions: 7 },
);

export const COMPOSE_FILE: Schema = object(
  {
    version: text,
    services: map(SERVICE),
    networks: map(NETWORK),
    volumes: map(VOLUME),
    secrets: since(1, map(SECRET)),
    configs: since(3, map(CONFIG)),
    name: since(TODAY, text),
    include: since(
      TODAY,
      list(
        oneOf(
          text,
          object(
            { path: textOrTexts, project_directory: text, env_file: textOrTexts },
            { required: ["path"] },
          ),
        ),
      ),
    ),
  },
  { extensions: 4 },
);

export function keySchema(key: Key): { readonly since: number; readonly schema: Schema } {
  return "since" in key ? key : { since: 0, schema: key };
}
