/**
 * Stacks: all that a deploy makes, changes and removes, in one transaction of the store: one entry of
 * the log, so that no crash and no change of leader leaves a half of it. What a stack consists of is
 * known by the label that docker gives its objects.
 *
 * Names of networks, secrets and configs become ids inside the transaction, because what they name may
 * be made by it.
 */

import { createHash } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import { STORE_TRANSACTION_MAX_BYTES } from "#base/limits.ts";
import { NAMESPACE_LABEL } from "#plan/compose/stack.ts";
import { withVersions } from "#plan/start-order/conditions.ts";
import { KIND_RULES } from "#store/kinds.ts";
import type { ReadView, Tx } from "#store/types.ts";
import {
  type DeployStackRequest,
  type DeployStackResponse,
  DeployStackResponseSchema,
  type GetStackRequest,
  type GetStackResponse,
  GetStackResponseSchema,
  type StackChange,
  StackChangeSchema,
} from "#wire/gen/skep/deploy_pb.js";
import {
  ConfigSchema,
  type Meta,
  type Network,
  SecretSchema,
} from "#wire/gen/swarmkit/objects_pb.js";
import {
  type ConfigSpec,
  ConfigSpecSchema,
  NetworkSpecSchema,
  type SecretSpec,
  SecretSpecSchema,
  type ServiceSpec,
  ServiceSpecSchema,
} from "#wire/gen/swarmkit/specs_pb.js";
import { type Annotations, type Version, VersionSchema } from "#wire/gen/swarmkit/types_pb.js";
import { addConfig, checkConfigKept, checkConfigSpec, relabelConfig } from "./configs.ts";
import { type ControlContext, freshId, read, write } from "./context.ts";
import { addNetwork, newNetwork } from "./networks.ts";
import { conflict, invalid, notFound, requiredId } from "./refusal.ts";
import { addSecret, checkSecretKept, checkSecretSpec, relabelSecret } from "./secrets.ts";
import { checkServiceSpec } from "./service-spec.ts";
import { addService, changeService, newService } from "./services.ts";
import { withIds, withPullOptionsOf } from "./stack-references.ts";

/** A stack's objects, in the order in which they are told. */
const KINDS = ["network", "secret", "config", "service"] as const;
type StackKind = (typeof KINDS)[number];

const SPECS = {
  network: NetworkSpecSchema,
  secret: SecretSpecSchema,
  config: ConfigSpecSchema,
  service: ServiceSpecSchema,
} as const;

/** Of a revision, hexadecimal digits: enough to tell the states of one stack apart. */
const REVISION_LENGTH = 16;

export async function getStack(
  context: ControlContext,
  request: GetStackRequest,
): Promise<GetStackResponse> {
  const name = requiredId(request.name);
  return create(GetStackResponseSchema, { revision: revisionOf(await read(context), name) });
}

export async function deployStack(
  context: ControlContext,
  request: DeployStackRequest,
): Promise<DeployStackResponse> {
  const name = requiredId(request.name);
  refuseTwice(request);
  const networks: Network[] = [];
  for (const spec of request.networks) {
    networks.push(await named("create", "network", spec, () => newNetwork(context, spec)));
  }
  const nowMs = context.clock.nowMs();
  try {
    return await write(context, (tx) => {
      if (request.revision !== "" && request.revision !== revisionOf(tx, name)) {
        throw conflict(
          `stack ${name} was changed by somebody else since this was planned: nothing is done; look at it and deploy again`,
        );
      }
      const deploy = new Deploy(context, tx, name, nowMs);
      for (const id of request.removedServices) deploy.removes("service", id);
      for (const network of networks) deploy.network(network);
      for (const spec of request.secrets) deploy.secret(spec);
      for (const spec of request.configs) deploy.config(spec);
      for (const spec of request.services) deploy.service(spec);
      for (const id of request.removedConfigs) deploy.removes("config", id);
      deploy.settleStarts();
      refuseTooLarge(tx, name, deploy.changes);
      const response = create(DeployStackResponseSchema, {
        revision: revisionOf(tx, name),
        changes: [...deploy.changes],
      });
      if (request.dryRun) throw new DryRun(response);
      return response;
    });
  } catch (thrown) {
    if (thrown instanceof DryRun) return thrown.response;
    throw thrown;
  }
}

/** How a transaction that shall change nothing is left. */
class DryRun extends Error {
  readonly response: DeployStackResponse;

  constructor(response: DeployStackResponse) {
    super("only tried");
    this.response = response;
  }
}

/**
 * One word for what a stack is: the ids and specs of its objects. Not their versions, which also the
 * allocator and every step of an update move.
 */
function revisionOf(view: ReadView, stack: string): string {
  const hash = createHash("sha256");
  for (const kind of KINDS) {
    for (const { id, spec } of view.all(kind)) {
      if (spec?.annotations?.labels[NAMESPACE_LABEL] !== stack) continue;
      const bytes = toBinary(SPECS[kind], spec as never);
      hash.update(`${kind} ${id} ${bytes.length}\n`).update(bytes);
    }
  }
  return hash.digest("hex").slice(0, REVISION_LENGTH);
}

class Deploy {
  readonly changes: StackChange[] = [];
  readonly #context: ControlContext;
  readonly #tx: Tx;
  readonly #stack: string;
  readonly #nowMs: number;

  constructor(context: ControlContext, tx: Tx, stack: string, nowMs: number) {
    this.#context = context;
    this.#tx = tx;
    this.#stack = stack;
    this.#nowMs = nowMs;
  }

  /** Only what is the stack's: a deploy has no business with others. */
  removes(kind: "service" | "config", id: string): void {
    const object = this.#tx.get(kind, id);
    const annotations = object?.spec?.annotations;
    if (annotations === undefined || annotations.labels[NAMESPACE_LABEL] !== this.#stack) {
      throw notFound(`stack ${this.#stack} has no ${kind} ${id}`);
    }
    this.#tx.delete(kind, id);
    this.#note(kind, "remove", id, annotations.name);
  }

  network(network: Network): void {
    const name = network.spec?.annotations?.name ?? "";
    const present = this.#tx.byName("network", name);
    const labels = present?.spec?.annotations?.labels ?? {};
    if (present !== undefined && labels[NAMESPACE_LABEL] === this.#stack) {
      this.#note("network", "keep", present.id, name);
      return;
    }
    named("create", "network", network.spec, () => addNetwork(this.#tx, network));
    this.#note("network", "create", network.id, name);
  }

  secret(spec: SecretSpec): void {
    const present = this.#tx.byName("secret", spec.annotations?.name ?? "");
    if (present === undefined) {
      const secret = create(SecretSchema, { id: freshId(this.#context), spec });
      named("create", "secret", spec, () => {
        checkSecretSpec(spec);
        addSecret(this.#tx, secret);
      });
      this.#note("secret", "create", secret.id, spec.annotations?.name);
      return;
    }
    kept("secret", spec, () => checkSecretKept(present, spec));
    const changed = !sameLabels(present.spec, spec);
    if (changed) relabelSecret(this.#tx, present, spec, versionOf(present));
    this.#note("secret", changed ? "update" : "keep", present.id, spec.annotations?.name);
  }

  config(spec: ConfigSpec): void {
    const present = this.#tx.byName("config", spec.annotations?.name ?? "");
    if (present === undefined) {
      const config = create(ConfigSchema, { id: freshId(this.#context), spec });
      named("create", "config", spec, () => {
        checkConfigSpec(spec);
        addConfig(this.#tx, config);
      });
      this.#note("config", "create", config.id, spec.annotations?.name);
      return;
    }
    kept("config", spec, () => checkConfigKept(present, spec));
    const changed = !sameLabels(present.spec, spec);
    if (changed) relabelConfig(this.#tx, present, spec, versionOf(present));
    this.#note("config", changed ? "update" : "keep", present.id, spec.annotations?.name);
  }

  service(wanted: ServiceSpec): void {
    const present = this.#tx.byName("service", wanted.annotations?.name ?? "");
    const action = present === undefined ? "create" : "update";
    const id = named(action, "service", wanted, () => {
      const spec = withIds(this.#tx, withPullOptionsOf(present?.spec, wanted));
      checkServiceSpec(spec);
      if (present === undefined) {
        const service = newService(this.#context, spec);
        addService(this.#tx, service, spec);
        return service.id;
      }
      if (present.spec?.annotations?.labels[NAMESPACE_LABEL] !== this.#stack) {
        throw conflict(`there is a service of that name which is not of stack ${this.#stack}`);
      }
      const change = { spec, version: versionOf(present), rollback: false, nowMs: this.#nowMs };
      changeService(this.#tx, present.id, change);
      return present.id;
    });
    this.#note("service", action, id, wanted.annotations?.name);
  }

  /** What services wait for is what this deploy makes of the others, also of those that came later. */
  settleStarts(): void {
    for (const { kind, id } of this.changes) {
      const service = kind === "service" ? this.#tx.get("service", id) : undefined;
      if (service === undefined || service.startAfter.length === 0) continue;
      const startAfter = withVersions(this.#tx, service.startAfter);
      this.#tx.update("service", { ...service, startAfter });
    }
  }

  #note(kind: StackKind, action: string, id: string, name = ""): void {
    this.changes.push(create(StackChangeSchema, { kind, action, id, name }));
  }
}

function kept(kind: "secret" | "config", spec: SecretSpec | ConfigSpec, check: () => void): void {
  try {
    named("update", kind, spec, check);
  } catch (error) {
    if (!isErrorCode(error, "invalid-argument")) throw error;
    const hint = `What a ${kind} holds cannot be changed: give the new one another name in the Compose file`;
    throw invalid(`${messageOf(error)}\n${hint}`);
  }
}

interface Labelled {
  readonly annotations?: Annotations | undefined;
}

function sameLabels(a: Labelled | undefined, b: Labelled): boolean {
  const labels = ({ annotations }: Labelled) =>
    JSON.stringify(Object.entries(annotations?.labels ?? {}).sort(([x], [y]) => (x < y ? -1 : 1)));
  return labels(a ?? {}) === labels(b);
}

function versionOf({ meta }: { readonly meta?: Meta | undefined }): Version {
  return meta?.version ?? create(VersionSchema);
}

/** What the work is refused for is said with the name of the object. */
function named<T>(verb: string, kind: StackKind, spec: Labelled | undefined, work: () => T): T {
  const wrap = (thrown: unknown): never => {
    if (!(thrown instanceof EngineError)) throw thrown;
    const name = spec?.annotations?.name ?? "";
    throw new EngineError(thrown.code, `failed to ${verb} ${kind} ${name}: ${thrown.message}`, {
      cause: thrown,
    });
  };
  try {
    const result = work();
    return result instanceof Promise ? (result.catch(wrap) as T) : result;
  } catch (thrown) {
    return wrap(thrown);
  }
}

/** The same name twice would be a creation and an update of it. */
function refuseTwice(request: DeployStackRequest): void {
  const { networks, secrets, configs, services } = request;
  for (const [kind, specs] of Object.entries({ networks, secrets, configs, services })) {
    const names = new Set<string>();
    for (const { annotations } of specs) {
      const name = annotations?.name ?? "";
      if (names.has(name)) throw invalid(`${name} is twice among the ${kind} of the stack`);
      names.add(name);
    }
  }
}

/** One entry of the log holds it all, and an entry is bounded. */
function refuseTooLarge(tx: Tx, stack: string, changes: readonly StackChange[]): void {
  let bytes = 0;
  let payload = 0;
  for (const { kind, action, id } of changes) {
    if (action !== "create" && action !== "update") continue;
    const object = tx.get(kind as StackKind, id);
    if (object === undefined) continue;
    const size = toBinary(KIND_RULES[kind as StackKind].schema, object as never).length;
    bytes += size;
    if (kind === "secret" || kind === "config") payload += size;
  }
  if (bytes <= STORE_TRANSACTION_MAX_BYTES) return;
  throw invalid(
    `stack ${stack} is too large to be deployed as a whole: ${bytes} bytes, of which its new secrets and configs are ${payload}, and at most ${STORE_TRANSACTION_MAX_BYTES} are allowed. Make the largest of them yourself (skep config create, skep secret create) and declare them as external`,
  );
}
