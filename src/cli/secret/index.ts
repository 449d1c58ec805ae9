/** `skep secret …`. */

import type { Command } from "../command.ts";
import { objectCommands } from "./objects.ts";

export const COMMANDS: readonly Command[] = objectCommands({ noun: "secret", shows: false });
