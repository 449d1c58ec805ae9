/** A volume driver that is a plug-in, spoken to by Docker's volume plug-in protocol. */

import { EngineError, isErrorCode } from "#base/error.ts";
import type { PluginRegistry } from "../plugins/registry.ts";
import type { DriverVolume, VolumeDriver } from "./driver.ts";

/** Making and mounting may take long: something may have to be formatted or attached. */
const LONG_TIMEOUT_MS = 120_000;
const TIMEOUT_MS = 60_000;
const ASK_TIMEOUT_MS = 10_000;

export function remoteVolumeDriver(name: string, plugins: PluginRegistry): VolumeDriver {
  const call = async (method: string, body: unknown, timeoutMs = TIMEOUT_MS) => {
    const client = await plugins.get(name, "VolumeDriver");
    return client.call(`VolumeDriver.${method}`, body, { timeoutMs });
  };
  /** Who only looks does not wait for a plug-in that is not there. */
  const ask = async (method: string, body: unknown) => {
    const client = await plugins.get(name, "VolumeDriver", 0);
    const options = { timeoutMs: ASK_TIMEOUT_MS, connectWithinMs: 0 };
    return client.call(`VolumeDriver.${method}`, body, options);
  };
  return {
    name,
    scope: async () => {
      try {
        const { Capabilities } = await ask("Capabilities", {});
        const { Scope } = (Capabilities ?? {}) as { readonly Scope?: unknown };
        return Scope === "global" ? "global" : "local";
      } catch (error) {
        // Plug-ins from before capabilities have none.
        if (isErrorCode(error, "unimplemented", "internal")) return "local";
        throw error;
      }
    },
    create: async (Name, Opts) => {
      await call("Create", { Name, Opts }, LONG_TIMEOUT_MS);
    },
    remove: async (Name) => {
      await call("Remove", { Name });
    },
    mount: async (Name, ID) => {
      const { Mountpoint } = await call("Mount", { Name, ID }, LONG_TIMEOUT_MS);
      if (typeof Mountpoint === "string" && Mountpoint.startsWith("/")) return Mountpoint;
      throw new EngineError("internal", `the plugin ${name} named no mountpoint for ${Name}`);
    },
    unmount: async (Name, ID) => {
      await call("Unmount", { Name, ID });
    },
    get: async (Name) => {
      try {
        const { Volume } = await ask("Get", { Name });
        return Volume === undefined ? undefined : volumeOf(Volume, Name);
      } catch (error) {
        // The protocol has no code for it: a plug-in that answers with an error does not have it.
        if (isErrorCode(error, "internal")) return undefined;
        throw error;
      }
    },
    list: async () => {
      const { Volumes } = await ask("List", {});
      if (!Array.isArray(Volumes)) return [];
      return Volumes.map((volume: unknown) => volumeOf(volume, "")).filter(
        (volume) => volume.name !== "",
      );
    },
  };
}

function volumeOf(value: unknown, fallback: string): DriverVolume {
  const { Name, Mountpoint, CreatedAt, Status } = (value ?? {}) as Readonly<
    Record<string, unknown>
  >;
  return {
    name: typeof Name === "string" && Name !== "" ? Name : fallback,
    mountpoint: typeof Mountpoint === "string" ? Mountpoint : "",
    ...(typeof CreatedAt === "string" ? { createdAt: CreatedAt } : {}),
    ...(typeof Status === "object" && Status !== null
      ? { status: Status as Readonly<Record<string, unknown>> }
      : {}),
  };
}
