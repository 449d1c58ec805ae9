/** What an operator asks for: services of every mode, and how they change. */

import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { START_LABEL } from "#model/service-labels.ts";
import type { ReadView } from "#store/types.ts";
import {
  type ContainerSpec,
  ContainerSpecSchema,
  type EndpointSpec,
  EndpointSpecSchema,
  type ServiceSpec,
  ServiceSpecSchema,
} from "#wire/gen/swarmkit/specs_pb.js";
import {
  UpdateConfig_FailureAction as FailureAction,
  PortConfig_PublishMode as PublishMode,
  RestartPolicy_RestartCondition as RestartCondition,
  UpdateConfigSchema,
  UpdateConfig_UpdateOrder as UpdateOrder,
} from "#wire/gen/swarmkit/types_pb.js";
import type { SeededRandom } from "../random.ts";

/** Images tell the simulated machines how a program behaves (`containers.ts`). */
export type Behaviour = "app" | "bad" | "job";

export const REPLICAS_MAX = 5;
const JOB_COMPLETIONS_MAX = 4;
const BAD_SHARE = 0.15;

export class SpecDrawer {
  readonly #random: SeededRandom;
  readonly #order: SeededRandom;
  #images = 0;

  constructor(random: SeededRandom) {
    this.#random = random;
    this.#order = random.fork("order");
  }

  /** A new service, which uses what there is. */
  draw(name: string, view: ReadView): ServiceSpec {
    const mode = this.#mode();
    const isJob = mode.case === "replicatedJob" || mode.case === "globalJob";
    const random = this.#random;
    const spec = create(ServiceSpecSchema, {
      annotations: { name, labels: this.#startAfter(name, view) },
      task: {
        runtime: { case: "container", value: this.#container(isJob ? "job" : "app", view) },
        restart: {
          condition: isJob ? RestartCondition.ON_FAILURE : RestartCondition.ANY,
          delay: durationFromMs(random.between(100, 2_000)),
        },
        networks: this.#networks(view),
      },
    });
    spec.mode = mode;
    if (isJob) return spec;
    return { ...spec, ...this.#updates(), endpoint: this.#endpoint(spec) };
  }

  /** The same service with another image, and maybe more that is different. */
  change(spec: ServiceSpec, view: ReadView): ServiceSpec {
    const isJob = spec.update === undefined;
    const behaviour = isJob ? "job" : this.#random.chance(BAD_SHARE) ? "bad" : "app";
    const next = withContainer(this.#reorder(spec, view), this.#container(behaviour, view));
    const { task } = next;
    if (task === undefined) return next;
    const networks = this.#random.chance(0.3) ? this.#networks(view) : task.networks;
    const moved = { ...next, task: { ...task, networks } };
    if (isJob) return moved;
    const updates = this.#random.chance(0.3) ? this.#updates() : {};
    const endpoint = this.#random.chance(0.2) ? this.#endpoint(spec) : next.endpoint;
    return { ...moved, ...updates, endpoint };
  }

  /** The same service with an image that works. */
  mend(spec: ServiceSpec): ServiceSpec {
    const container = containerOf(spec);
    if (container === undefined) return spec;
    return withContainer(spec, { ...container, image: this.#image("app") });
  }

  #reorder(spec: ServiceSpec, view: ReadView): ServiceSpec {
    if (spec.annotations === undefined || !this.#order.chance(0.2)) return spec;
    const labels = this.#startAfter(spec.annotations.name, view);
    return { ...spec, annotations: { ...spec.annotations, labels } };
  }

  /** A service may wait for those that are older: circles would wait for ever. */
  #startAfter(name: string, view: ReadView): Record<string, string> {
    const older = [...view.all("service")].filter(
      ({ spec }) => numberOf(spec?.annotations?.name) < numberOf(name),
    );
    const others = this.#order.chance(0.4) ? this.#order.shuffle(older).slice(0, 2) : [];
    if (others.length === 0) return {};
    const conditions = others.map(({ spec }) => {
      const isJob = spec?.mode.case === "replicatedJob" || spec?.mode.case === "globalJob";
      return `${spec?.annotations?.name ?? ""}=${isJob ? "completed" : "healthy"}`;
    });
    return { [START_LABEL]: conditions.join(",") };
  }

  #mode(): ServiceSpec["mode"] {
    const random = this.#random;
    const kind = random.pick([
      "replicated",
      "replicated",
      "replicated",
      "global",
      "replicatedJob",
      "globalJob",
    ] as const);
    const modes = create(ServiceSpecSchema, {
      mode:
        kind === "replicatedJob"
          ? {
              case: "replicatedJob",
              value: {
                maxConcurrent: BigInt(random.between(1, 2)),
                totalCompletions: BigInt(random.between(1, JOB_COMPLETIONS_MAX)),
              },
            }
          : kind === "replicated"
            ? { case: kind, value: { replicas: BigInt(random.between(1, REPLICAS_MAX)) } }
            : { case: kind ?? "global", value: {} },
    });
    return modes.mode;
  }

  #updates(): Pick<ServiceSpec, "update" | "rollback"> {
    const random = this.#random;
    const order = random.pick([UpdateOrder.START_FIRST, UpdateOrder.STOP_FIRST]);
    const { CONTINUE, PAUSE, ROLLBACK } = FailureAction;
    const settings = {
      parallelism: BigInt(random.pick([0, 1, 1, 1, 2]) ?? 1),
      order: order ?? UpdateOrder.STOP_FIRST,
      delay: durationFromMs(random.pick([0, 0, 500]) ?? 0),
      monitor: durationFromMs(random.pick([500, 3_000]) ?? 500),
    };
    const update = create(UpdateConfigSchema, {
      ...settings,
      failureAction: random.pick([CONTINUE, PAUSE, ROLLBACK]) ?? PAUSE,
    });
    const rollback = create(UpdateConfigSchema, {
      ...settings,
      failureAction: random.pick([CONTINUE, PAUSE]) ?? PAUSE,
    });
    return { update, rollback };
  }

  #endpoint({ mode, annotations }: ServiceSpec): EndpointSpec {
    const random = this.#random;
    // Of its own and on every node, or no order of an update could ever place all tasks.
    const number = numberOf(annotations?.name);
    const host = { targetPort: 80, publishedPort: 9_000 + number, publishMode: PublishMode.HOST };
    const port = { targetPort: 80, publishMode: PublishMode.INGRESS };
    const published = random.pick([
      [],
      [],
      [port],
      [{ ...port, publishedPort: random.between(8_000, 8_003) }],
      mode.case === "global" ? [host] : [port],
    ]);
    return create(EndpointSpecSchema, { ports: published ?? [] });
  }

  #networks(view: ReadView): ServiceSpec["networks"] {
    const ids = [...view.all("network")].filter(
      ({ spec }) => spec?.ingress !== true && isOverlay(spec),
    );
    const chosen = this.#random.shuffle(ids).slice(0, this.#random.int(3));
    return create(ServiceSpecSchema, { networks: chosen.map(({ id }) => ({ target: id })) })
      .networks;
  }

  #container(behaviour: Behaviour, view: ReadView): ContainerSpec {
    const random = this.#random;
    const file = (name: string) => ({
      case: "file" as const,
      value: { name, uid: "0", gid: "0", mode: 0o444 },
    });
    const nameOf = (object: {
      spec?: { annotations?: { name: string } | undefined } | undefined;
    }) => object.spec?.annotations?.name ?? "";
    const secrets = random.shuffle([...view.all("secret")]).slice(0, random.int(3));
    const configs = [...view.all("config")].filter((config) => nameOf(config).startsWith("config"));
    return create(ContainerSpecSchema, {
      image: this.#image(behaviour),
      secrets: secrets.map((one) => {
        const secretName = nameOf(one);
        return { secretId: one.id, secretName, target: file(secretName) };
      }),
      configs: random
        .shuffle(configs)
        .slice(0, random.int(2))
        .map((one) => {
          const configName = nameOf(one);
          return { configId: one.id, configName, target: file(configName) };
        }),
    });
  }

  #image(behaviour: Behaviour): string {
    return `${behaviour}:${++this.#images}`;
  }
}

function numberOf(name: string | undefined): number {
  return Number(name?.replace(/\D+/g, "") ?? 0);
}

export function imageOf(spec: ServiceSpec["task"]): string {
  return spec?.runtime.case === "container" ? spec.runtime.value.image : "";
}

export function behaviourOf(image: string): Behaviour {
  return image.startsWith("bad") ? "bad" : image.startsWith("job") ? "job" : "app";
}

function containerOf(spec: ServiceSpec): ContainerSpec | undefined {
  return spec.task?.runtime.case === "container" ? spec.task.runtime.value : undefined;
}

function withContainer(spec: ServiceSpec, value: ContainerSpec): ServiceSpec {
  if (spec.task === undefined) return spec;
  return { ...spec, task: { ...spec.task, runtime: { case: "container", value } } };
}

function isOverlay(spec: { driverConfig?: { name: string } | undefined } | undefined): boolean {
  const name = spec?.driverConfig?.name ?? "overlay";
  return name === "overlay" || name === "";
}
