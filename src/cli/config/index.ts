/** `skep config …`. */

import type { Command } from "../command.ts";
import { objectCommands } from "../secret/objects.ts";

export const COMMANDS: readonly Command[] = objectCommands({ noun: "config", shows: true });
