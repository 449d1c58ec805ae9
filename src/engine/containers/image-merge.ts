/** A container's configuration completed by its image's: what the user said wins, field by field. */

import type { ContainerConfig, HealthConfig } from "#wire/docker/containers.ts";
import type { ImageConfig } from "#wire/docker/images.ts";

export function mergeImageConfig(config: ContainerConfig, image: ImageConfig): ContainerConfig {
  const { entrypoint, cmd } = mergeCommand(config, image);
  const healthcheck = mergeHealthcheck(config.Healthcheck, image.Healthcheck);
  return {
    ...config,
    User: config.User || image.User || "",
    ExposedPorts: { ...image.ExposedPorts, ...config.ExposedPorts },
    Env: mergeEnv(image.Env ?? [], config.Env ?? []),
    Labels: { ...image.Labels, ...config.Labels },
    Entrypoint: entrypoint.length === 0 ? null : entrypoint,
    Cmd: cmd.length === 0 ? null : cmd,
    WorkingDir: config.WorkingDir || image.WorkingDir || "",
    Volumes: { ...image.Volumes, ...config.Volumes },
    ...optional("StopSignal", config.StopSignal || image.StopSignal),
    ...optional("StopTimeout", config.StopTimeout ?? image.StopTimeout),
    ...optional("Healthcheck", healthcheck),
    ...optional("Shell", config.Shell ?? image.Shell ?? undefined),
  };
}

/** An entrypoint of the user's drops the image's command; [""] means none at all. */
function mergeCommand(config: ContainerConfig, image: ImageConfig) {
  const own = config.Entrypoint ?? [];
  const reset = own.length === 1 && own[0] === "";
  if (own.length > 0) return { entrypoint: reset ? [] : own, cmd: config.Cmd ?? [] };
  const cmd = (config.Cmd ?? []).length > 0 ? (config.Cmd ?? []) : (image.Cmd ?? []);
  return { entrypoint: image.Entrypoint ?? [], cmd };
}

/** The user's variables, then the image's that the user did not set; "NAME" alone unsets. */
export function mergeEnv(image: readonly string[], own: readonly string[]): string[] {
  const nameOf = (entry: string) => entry.split("=", 1)[0] ?? "";
  const set = new Set(own.map(nameOf));
  return [...own, ...image.filter((entry) => !set.has(nameOf(entry)))];
}

function mergeHealthcheck(
  own: HealthConfig | null | undefined,
  image: HealthConfig | null | undefined,
): HealthConfig | undefined {
  if (!own) return image ?? undefined;
  if (!image) return own;
  return {
    Test: (own.Test ?? []).length > 0 ? (own.Test ?? []) : (image.Test ?? []),
    Interval: own.Interval || image.Interval || 0,
    Timeout: own.Timeout || image.Timeout || 0,
    StartPeriod: own.StartPeriod || image.StartPeriod || 0,
    StartInterval: own.StartInterval || image.StartInterval || 0,
    Retries: own.Retries || image.Retries || 0,
  };
}

function optional<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  if (value === undefined || value === "") return {};
  return { [key]: value } as { [P in K]?: V };
}
