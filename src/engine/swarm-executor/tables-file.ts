/** This node's newest network tables in one file: a complete message, as a manager would send it. */

import { mkdir, readFile, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { messageOf } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import { isMissing } from "#platform/missing.ts";
import { realFileSystem } from "#platform/wal/file-system.ts";
import { writeDurably } from "#platform/wal/files.ts";
import { TablesMessageSchema } from "#wire/gen/skep/dataplane_pb.js";
import type { TablesFile } from "./ports.ts";

export function tablesFile(path: string, log: Log): TablesFile {
  return {
    load: async () => {
      try {
        return fromBinary(TablesMessageSchema, await readFile(path));
      } catch (error) {
        if (isMissing(error)) return undefined;
        log.warn("network tables on disk cannot be read; a manager will send them", {
          path,
          reason: messageOf(error),
        });
        return undefined;
      }
    },
    store: async (message) => {
      try {
        await mkdir(dirname(path), { recursive: true, mode: 0o700 });
        await writeDurably(realFileSystem, path, [toBinary(TablesMessageSchema, message)]);
      } catch (error) {
        log.warn("network tables not kept on disk", { path, reason: messageOf(error) });
      }
    },
    remove: () => rm(path, { force: true }),
  };
}
