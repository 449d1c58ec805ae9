/** All figures of the engine: who keeps them, and where they are served. */

import type { Family } from "#base/metrics.ts";
import type { Clock, Log } from "#base/ports.ts";
import type { ConnectionTable } from "#engine/networks/connection-table.ts";
import { EngineMetrics, type EngineMetricsHost } from "./engine-metrics.ts";
import { ManagerMetrics } from "./manager-metrics.ts";
import { type NodeMetricsHost, nodeFamilies } from "./node-metrics.ts";
import { ProcessMetrics } from "./process-metrics.ts";
import { type MetricsServer, serveMetrics } from "./server.ts";

export class Metrics {
  readonly engine: EngineMetrics;
  readonly manager: ManagerMetrics;

  constructor(clock: Clock) {
    this.engine = new EngineMetrics(clock);
    this.manager = new ManagerMetrics(() => clock.monotonicMs());
  }

  /** Serves them until closed. */
  async serve(
    address: { readonly host: string; readonly port: number },
    host: EngineMetricsHost &
      NodeMetricsHost & { readonly connections: Pick<ConnectionTable, "families"> },
    log: Log,
  ): Promise<MetricsServer> {
    const own = new ProcessMetrics();
    const gather = async (): Promise<readonly Family[]> => [
      ...(await this.engine.families(host)),
      ...(await nodeFamilies(host)),
      ...host.connections.families(),
      ...this.manager.families(),
      ...(await own.families()),
    ];
    try {
      const server = await serveMetrics(address, gather, log);
      log.info("metrics are served", { address: address.host, port: server.port });
      if (!isLoopback(address.host)) {
        log.warn("metrics are served to everybody who reaches this address, without TLS", {
          address: address.host,
        });
      }
      return {
        port: server.port,
        close: async () => {
          own.close();
          await server.close();
        },
      };
    } catch (error) {
      own.close();
      throw error;
    }
  }
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.");
}
