/** Everything that one engine does for one host, beside Debian's dockerd. */

import * as bulk from "./bulk.ts";
import * as containers from "./containers.ts";
import * as many from "./many.ts";
import type { Report } from "./report.ts";

export async function run(report: Report): Promise<void> {
  for (const part of [containers, many, bulk]) await part.run(report);
}
