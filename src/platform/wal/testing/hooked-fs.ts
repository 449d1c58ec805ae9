/** The real file system, with something to wait for before each durable write. */

import { type FileSystem, realFileSystem } from "../file-system.ts";

export function beforeDurableWrites(hook: () => Promise<void>): FileSystem {
  return {
    ...realFileSystem,
    openDurable: async (path) => {
      const file = await realFileSystem.openDurable(path);
      return {
        write: async (bytes, offset) => {
          await hook();
          await file.write(bytes, offset);
        },
        sync: () => file.sync(),
        close: () => file.close(),
      };
    },
  };
}
