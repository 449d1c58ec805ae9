/**
 * A context as one file, as docker exports it: a tar of `meta.json` and `tls/ENDPOINT/*.pem`. It can
 * come as a zip, too. What is in it came from somebody else: names are checked and sizes bounded.
 */

import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { extract, pack } from "tar-stream";
import { EngineError } from "#base/error.ts";
import { type ContextMeta, metaFrom, type TlsFiles } from "./store.ts";
import { isZip, zipEntries } from "./zip.ts";

/** Of the archive, and of what it holds. */
export const ARCHIVE_MAX_BYTES = 10 * 1024 * 1024;

const META = "meta.json";
const FILE = /^tls\/([^/]+)\/([^/]+)$/;

export interface Archived {
  readonly meta: ContextMeta;
  readonly tls: Readonly<Record<string, TlsFiles>>;
}

export async function packContext({ meta, tls }: Archived): Promise<Buffer> {
  const archive = pack();
  const mtime = new Date(0);
  const folder = (name: string) => archive.entry({ name, type: "directory", mode: 0o700, mtime });
  archive.entry({ name: META, mode: 0o644, mtime }, JSON.stringify(meta));
  folder("tls/");
  for (const [endpoint, files] of Object.entries(tls)) {
    folder(`tls/${endpoint}/`);
    for (const [name, content] of Object.entries(files)) {
      archive.entry({ name: `tls/${endpoint}/${name}`, mode: 0o600, mtime }, content);
    }
  }
  archive.finalize();
  return buffer(archive);
}

/** Throws invalid-argument for what is no context. */
export async function unpackContext(bytes: Buffer): Promise<Archived> {
  let meta: ContextMeta | undefined;
  const tls: Record<string, Record<string, Buffer>> = {};
  for await (const { name, content } of isZip(bytes) ? zipEntries(bytes) : tarEntries(bytes)) {
    if (name.endsWith("/") || name === "") continue;
    const [, endpoint, file] = FILE.exec(name) ?? [];
    if (name === META) meta = metaFrom(content.toString("utf8"), META);
    else if (endpoint === undefined || file === undefined || [endpoint, file].includes("..")) {
      throw new EngineError("invalid-argument", `unexpected context file: ${JSON.stringify(name)}`);
    } else tls[endpoint] = { ...tls[endpoint], [file]: content };
  }
  if (meta === undefined) {
    throw new EngineError("invalid-argument", "invalid context: no metadata found");
  }
  return { meta, tls };
}

async function* tarEntries(bytes: Buffer) {
  const archive = Readable.from([bytes]).pipe(extract());
  try {
    for await (const entry of archive) {
      const content = await buffer(entry);
      const { name, type } = entry.header;
      yield { name: type === "directory" ? `${name.replace(/\/$/, "")}/` : name, content };
    }
  } catch (error) {
    if (error instanceof EngineError) throw error;
    throw new EngineError("invalid-argument", "archive/tar: invalid tar header", { cause: error });
  }
}
