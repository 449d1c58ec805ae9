/**
 * containerd's content store as streams of bytes: blobs named by their digest, written once and
 * never changed. A write has a reference name, under which an interrupted one is taken up again;
 * a reference has one writer at a time.
 */

import { EngineError, isErrorCode } from "#base/error.ts";
import { invariant } from "#base/invariant.ts";
import { WriteAction, type WriteContentRequest } from "#wire/gen/containerd/content_pb.js";
import { deferred } from "../async.ts";
import type { CallOptions } from "../grpc/client.ts";
import type { Containerd } from "./client.ts";
import type { Lease } from "./leases.ts";

export interface BlobInfo {
  readonly digest: string;
  readonly size: number;
  readonly labels: Readonly<Record<string, string>>;
}

export interface BlobWrite {
  /** Names the write; the same name takes an interrupted one up. */
  readonly ref: string;
  /** Checked by containerd when given: `sha256:…`. */
  readonly digest?: string | undefined;
  /** Bytes of the whole blob, checked when given. */
  readonly size?: number | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly lease?: Lease | undefined;
  readonly signal?: AbortSignal | undefined;
  /** The bytes from `offset` on; asked once, when the writer knows where it stands. */
  readonly source: (offset: number) => AsyncIterable<Uint8Array>;
}

export interface ContentStore {
  /** Undefined when there is no such blob. */
  info(digest: string): Promise<BlobInfo | undefined>;
  /** The bytes; `not-found` when there is no such blob. */
  read(
    digest: string,
    options?: { offset?: number; signal?: AbortSignal },
  ): AsyncIterable<Uint8Array>;
  /** A whole blob of at most `maxBytes`. */
  readAll(digest: string, maxBytes: number): Promise<Uint8Array>;
  /** Writes a blob; one that is there already is success without reading the source. */
  write(write: BlobWrite): Promise<BlobInfo>;
  /** Adds or replaces labels. */
  label(digest: string, labels: Readonly<Record<string, string>>): Promise<void>;
  /** Forgets an interrupted write; fine when there is none. */
  abort(ref: string): Promise<void>;
}

/** Message size of a write: large enough that the cost per message does not show. */
const WRITE_CHUNK_BYTES = 512 * 1024;

export function createContentStore(containerd: Pick<Containerd, "content">): ContentStore {
  const { content } = containerd;
  const info = async (digest: string): Promise<BlobInfo | undefined> => {
    try {
      const { info } = await content.info({ digest });
      invariant(info !== undefined, "containerd answered without an info");
      return { digest: info.digest, size: Number(info.size), labels: info.labels };
    } catch (error) {
      if (isErrorCode(error, "not-found")) return undefined;
      throw error;
    }
  };
  async function* read(digest: string, options: { offset?: number; signal?: AbortSignal } = {}) {
    const request = { digest, offset: BigInt(options.offset ?? 0) };
    for await (const { data } of content.read(request, { signal: options.signal })) yield data;
  }
  return {
    info,
    read,
    readAll: async (digest, maxBytes) => {
      const chunks: Uint8Array[] = [];
      let total = 0;
      for await (const chunk of read(digest)) {
        total += chunk.length;
        if (total > maxBytes) {
          throw new EngineError("resource-exhausted", `blob ${digest} is over ${maxBytes} bytes`);
        }
        chunks.push(chunk);
      }
      return concat(chunks, total);
    },
    write: (write) => writeBlob(content, write, info),
    label: async (digest, labels) => {
      const paths = Object.keys(labels).map((key) => `labels.${key}`);
      await content.update({ info: { digest, labels: { ...labels } }, updateMask: { paths } });
    },
    abort: async (ref) => {
      try {
        await content.abort({ ref });
      } catch (error) {
        if (!isErrorCode(error, "not-found")) throw error;
      }
    },
  };
}

async function writeBlob(
  content: Containerd["content"],
  write: BlobWrite,
  info: (digest: string) => Promise<BlobInfo | undefined>,
): Promise<BlobInfo> {
  const session = new WriteSession(write);
  try {
    return await session.run(content);
  } catch (error) {
    const digest = write.digest ?? session.digest;
    if (!isErrorCode(error, "already-exists") || digest === undefined) throw error;
    await write.lease?.hold("content", digest);
    const existing = await info(digest);
    if (existing === undefined) throw error;
    return existing;
  }
}

type RequestInit = Omit<Partial<WriteContentRequest>, "$typeName" | "$unknown">;

/** One run of the write protocol: ask where it stands, send the rest, commit. */
class WriteSession {
  readonly #write: BlobWrite;
  readonly #start = deferred<number>();
  /** What the source threw: the call's own error then only says that we gave up. */
  #failure: { readonly error: unknown } | undefined;
  #over = false;
  /** Of the bytes written so far, as containerd reckons it. */
  digest: string | undefined;

  constructor(write: BlobWrite) {
    this.#write = write;
    // Rejected only to end the generator; whoever consumes the responses has the error.
    this.#start.promise.catch(() => undefined);
  }

  async run(content: Containerd["content"]): Promise<BlobInfo> {
    const options: CallOptions = {
      signal: this.#write.signal,
      metadata: this.#write.lease?.metadata,
    };
    try {
      for await (const response of content.write(this.#requests(), options)) {
        const offset = Number(response.offset);
        if (response.action === WriteAction.STAT) this.#start.resolve(offset);
        if (response.action === WriteAction.WRITE) this.digest = response.digest;
        if (response.action === WriteAction.COMMIT) {
          return { digest: response.digest, size: offset, labels: this.#write.labels ?? {} };
        }
      }
      throw new EngineError(
        "unavailable",
        `containerd ended the write of ${this.#write.ref} early`,
      );
    } catch (error) {
      throw this.#failure?.error ?? error;
    } finally {
      this.#over = true;
      this.#start.reject(new EngineError("cancelled", "the write is over"));
    }
  }

  async *#requests(): AsyncGenerator<RequestInit> {
    const { ref, digest, size, labels, source } = this.#write;
    const expected = { expected: digest ?? "", total: BigInt(size ?? 0) };
    try {
      yield { action: WriteAction.STAT, ref, ...expected };
      let offset = await this.#start.promise;
      for await (const data of rechunk(source(offset))) {
        if (this.#over) return;
        yield { action: WriteAction.WRITE, ref, offset: BigInt(offset), data };
        offset += data.length;
      }
      if (size !== undefined && offset !== size) {
        throw new EngineError("data-loss", `unexpected size ${offset} of ${ref}, expected ${size}`);
      }
      const total = BigInt(offset);
      yield {
        action: WriteAction.COMMIT,
        ref,
        ...expected,
        total,
        offset: total,
        labels: { ...labels },
      };
    } catch (error) {
      // Ending without a commit, not cancelling: what was sent is kept for the next attempt.
      this.#failure ??= { error };
    }
  }
}

/** The same bytes in pieces of about `WRITE_CHUNK_BYTES`; what came before a failure comes too. */
async function* rechunk(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let held: Uint8Array[] = [];
  let size = 0;
  let failure: { readonly error: unknown } | undefined;
  try {
    for await (const chunk of source) {
      for (let at = 0; at < chunk.length; at += WRITE_CHUNK_BYTES) {
        const part = chunk.subarray(at, at + WRITE_CHUNK_BYTES);
        held.push(part);
        size += part.length;
        if (size < WRITE_CHUNK_BYTES) continue;
        yield concat(held, size);
        held = [];
        size = 0;
      }
    }
  } catch (error) {
    failure = { error };
  }
  if (size > 0) yield concat(held, size);
  if (failure !== undefined) throw failure.error;
}

function concat(chunks: readonly Uint8Array[], total: number): Uint8Array {
  if (chunks.length === 1 && chunks[0] !== undefined) return chunks[0];
  const all = new Uint8Array(total);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}
