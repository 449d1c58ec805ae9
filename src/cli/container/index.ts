/** `skep container …`, and the top-level words that stand for its verbs (`run`, `ps`, `rm` …). */

import type { Command } from "../command.ts";
import { EXEC_COMMANDS } from "./exec.ts";
import { FILE_COMMANDS } from "./files.ts";
import { LIFECYCLE_COMMANDS } from "./lifecycle.ts";
import { LIST_COMMANDS } from "./list.ts";
import { LOGS_COMMANDS } from "./logs.ts";
import { RUN_COMMANDS } from "./run.ts";
import { UPDATE_COMMANDS } from "./update.ts";

export const COMMANDS: readonly Command[] = [
  ...RUN_COMMANDS,
  ...LIST_COMMANDS,
  ...LIFECYCLE_COMMANDS,
  ...EXEC_COMMANDS,
  ...LOGS_COMMANDS,
  ...FILE_COMMANDS,
  ...UPDATE_COMMANDS,
];
