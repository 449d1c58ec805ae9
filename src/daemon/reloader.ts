/** SIGHUP: reads the configuration again and hands on what may change; a bad file changes nothing. */

import type { Log } from "#base/ports.ts";
import type { LogThreshold } from "#platform/log.ts";
import { type DaemonConfig, readConfigFile, resolveConfig } from "./config.ts";
import { planReload } from "./reload.ts";

export interface ReloaderOptions {
  readonly argv: readonly string[];
  readonly config: DaemonConfig;
  readonly engine: { reload(config: DaemonConfig): void };
  readonly threshold: LogThreshold;
  readonly log: Log;
}

export class Reloader {
  readonly #options: ReloaderOptions;
  #config: DaemonConfig;

  constructor(options: ReloaderOptions) {
    this.#options = options;
    this.#config = options.config;
  }

  /** The configuration that is in force. */
  get config(): DaemonConfig {
    return this.#config;
  }

  reload(): void {
    const { argv, engine, threshold, log } = this.#options;
    const loaded = resolveConfig(argv, readConfigFile);
    if (!loaded.ok) {
      log.error("the configuration is not reloaded", { reason: loaded.error });
      return;
    }
    const { config, changed, later } = planReload(this.#config, loaded.value.config);
    if (later.length > 0) {
      log.warn("changed, but takes effect with the next start only", { settings: later });
    }
    this.#config = config;
    threshold.set(config.logLevel);
    engine.reload(config);
    log.info("configuration reloaded", { changed });
  }
}
