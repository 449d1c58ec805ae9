/**
 * The registries that an engine talks to: which endpoint serves a reference, in which order, and
 * what a failure of all of them is called.
 */

import { EngineError, isErrorCode } from "#base/error.ts";
import type { Clock } from "#base/ports.ts";
import type { AuthConfig } from "#wire/docker/images.ts";
import { DEFAULT_DOMAIN, type Reference } from "#wire/oci.ts";
import { openRepository, type Repository } from "./client.ts";
import { endpointsOf, type RegistryConfig } from "./endpoints.ts";
import { RegistryError } from "./errors.ts";
import { type SearchHit, searchRegistry } from "./search.ts";

export interface Registry {
  /**
   * Runs `work` against the first endpoint that serves the repository. A mirror that fails or does
   * not have it is passed over; so is https, on an insecure host that does not speak it.
   */
  use<T>(
    reference: Pick<Reference, "domain" | "path">,
    options: {
      purpose: "pull" | "push";
      auth?: AuthConfig | undefined;
      signal?: AbortSignal | undefined;
    },
    work: (repository: Repository) => Promise<T>,
  ): Promise<T>;
  /** Checks credentials; `unauthenticated` when the registry refuses them. */
  login(auth: AuthConfig): Promise<void>;
  /** What a registry that offers a search finds; `unimplemented` when it does not. */
  search(
    term: string,
    limit: number,
    options: { auth?: AuthConfig | undefined; signal?: AbortSignal | undefined },
  ): Promise<readonly SearchHit[]>;
}

export interface RegistryOptions {
  /** Asked for every use: the configuration may be reloaded. */
  readonly config: () => RegistryConfig;
  readonly clock: Clock;
  readonly userAgent: string;
}

export function createRegistry(options: RegistryOptions): Registry {
  const { clock, userAgent } = options;
  const use: Registry["use"] = async (reference, { purpose, auth, signal }, work) => {
    const config = options.config();
    const { certFolders } = config;
    const endpoints = endpointsOf(reference.domain, config, purpose);
    let failure: unknown;
    for (const [index, endpoint] of endpoints.entries()) {
      const isLast = index === endpoints.length - 1;
      let repository: Repository | undefined;
      try {
        const actions = purpose === "pull" ? "pull" : "pull,push";
        const { path } = reference;
        repository = await openRepository(
          { endpoint, path, actions, auth, certFolders, clock, userAgent },
          signal,
        );
        return await work(repository);
      } catch (error) {
        if (isLast || !mayPassOver(error, repository !== undefined, endpoint.isMirror)) throw error;
        failure = error;
      } finally {
        repository?.close();
      }
    }
    throw failure ?? new EngineError("internal", "no endpoint to ask");
  };
  return {
    use,
    login: (auth) => login(auth, options),
    search: (term, limit, { auth, signal }) =>
      searchRegistry(term, limit, { config: options.config(), userAgent, auth, signal }),
  };
}

/** Once a registry that is not a mirror answered, its answer counts. */
function mayPassOver(error: unknown, opened: boolean, isMirror: boolean): boolean {
  if (isErrorCode(error, "cancelled")) return false;
  if (isMirror) return error instanceof RegistryError || isErrorCode(error, "unavailable");
  return !opened && isErrorCode(error, "unavailable");
}

async function login(auth: AuthConfig, options: RegistryOptions): Promise<void> {
  const { clock, userAgent } = options;
  const config = options.config();
  const { certFolders } = config;
  let failure: unknown;
  for (const endpoint of endpointsOf(domainOf(auth.serveraddress), config, "push")) {
    try {
      const repository = await openRepository({
        endpoint,
        path: "",
        actions: "pull",
        auth,
        certFolders,
        clock,
        userAgent,
      });
      try {
        return await repository.checkLogin();
      } finally {
        repository.close();
      }
    } catch (error) {
      if (isErrorCode(error, "unauthenticated", "permission-denied")) {
        throw new EngineError(
          "unauthenticated",
          `Get "${endpoint.base}/v2/": unauthorized: incorrect username or password`,
          { cause: error },
        );
      }
      failure = error;
    }
  }
  throw failure;
}

/** "https://index.docker.io/v1/" and "" are docker.io; else the host of a URL or a bare host. */
export function domainOf(serverAddress: string | undefined): string {
  const host = (serverAddress ?? "").replace(/^https?:\/\//, "").split("/")[0] ?? "";
  if (!/^[\w.:[\]-]*$/.test(host)) {
    throw new EngineError("invalid-argument", `invalid registry address: ${host}`);
  }
  return ["", "index.docker.io", "docker.io", "registry-1.docker.io"].includes(host)
    ? DEFAULT_DOMAIN
    : host;
}
