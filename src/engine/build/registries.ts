/**
 * The builder's configuration of registries: every registry that a build may name is led to our own
 * endpoint. Which ones those are is read from the text of the Dockerfile and of its arguments, where a
 * registry is a word with a dot or a port; one too many does no harm. What is put together from
 * smaller pieces than that is not found, and is then asked for directly, without credentials.
 */

const HOSTS_MAX = 500;
const DEFAULT = "docker.io";
/** Other names of the default registry. */
const DEFAULT_ALIASES = ["index.docker.io", "registry-1.docker.io"];
const HOST =
  /(?<![\w.:/-])((?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]*[a-z0-9](?::\d{1,5})?|[a-z0-9][a-z0-9.-]*:\d{1,5}|localhost|\[[0-9a-f:]+\](?::\d{1,5})?)(?![\w.:-])/gi;

/** Registries that the texts may name, docker.io first. */
export function registryHosts(texts: readonly string[]): readonly string[] {
  const hosts = new Set([DEFAULT, ...DEFAULT_ALIASES]);
  for (const text of texts) {
    for (const match of text.matchAll(HOST)) {
      if (hosts.size >= HOSTS_MAX) return [...hosts];
      hosts.add((match[1] ?? "").toLowerCase());
    }
  }
  return [...hosts];
}

/** The domain that docker knows a registry by. */
export function canonicalHost(host: string): string {
  return DEFAULT_ALIASES.includes(host) ? DEFAULT : host;
}

/** containers-registries.conf(5): `locations` in the order of `hosts`. */
export function registriesConf(hosts: readonly string[], locations: readonly string[]): string {
  const sections = hosts.map((host, index) =>
    [
      "[[registry]]",
      `prefix = ${quote(host)}`,
      `location = ${quote(locations[index] ?? "")}`,
      "insecure = true",
      "",
    ].join("\n"),
  );
  return [
    `unqualified-search-registries = [${quote(DEFAULT)}]`,
    'short-name-mode = "disabled"',
    "",
    ...sections,
  ].join("\n");
}

function quote(text: string): string {
  return JSON.stringify(text);
}
