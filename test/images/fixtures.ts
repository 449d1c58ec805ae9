/** Archives for the image tests, made here: layers of busybox and files, in docker's formats. */

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { PassThrough, type Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import { pack } from "tar-stream";

export interface TarFile {
  readonly name: string;
  readonly content?: string | Uint8Array;
  readonly mode?: number;
  readonly type?: "file" | "directory" | "link" | "symlink";
  readonly linkname?: string;
}

export async function makeTar(files: readonly TarFile[]): Promise<Buffer> {
  const archive = pack();
  for (const { name, content = "", mode = 0o644, type = "file", linkname } of files) {
    const header = { name, mode, type, ...(linkname === undefined ? {} : { linkname }) };
    archive.entry(header, Buffer.from(content as Uint8Array));
  }
  archive.finalize();
  return buffer(archive);
}

export function digestOf(bytes: Uint8Array | string): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

export function streamOf(bytes: Uint8Array): Readable {
  const stream = new PassThrough();
  stream.end(bytes);
  return stream;
}

/** The lowest layer: a busybox that can run. */
export async function busyboxLayer(): Promise<Buffer> {
  const busybox = await readFile("/bin/busybox");
  return makeTar([
    { name: "bin/", type: "directory", mode: 0o755 },
    { name: "bin/busybox", content: busybox, mode: 0o755 },
    { name: "bin/sh", type: "symlink", linkname: "busybox" },
    { name: "etc/", type: "directory", mode: 0o755 },
    { name: "etc/motd", content: "hello\n" },
  ]);
}

export interface ImageFixture {
  readonly configText: string;
  readonly id: string;
  readonly layers: readonly Buffer[];
}

export function makeImage(
  layers: readonly Buffer[],
  config: Record<string, unknown> = { Cmd: ["/bin/sh"], Env: ["PATH=/bin"] },
  created = "2024-05-06T07:08:09.123456789Z",
): ImageFixture {
  const configText = JSON.stringify({
    architecture: process.arch === "x64" ? "amd64" : process.arch,
    os: "linux",
    created,
    config,
    rootfs: { type: "layers", diff_ids: layers.map(digestOf) },
    history: [
      { created, created_by: "/bin/sh -c #(nop) ENV PATH=/bin", empty_layer: true },
      ...layers.map((_, index) => ({ created, created_by: `layer ${index}` })),
    ],
  });
  return { configText, id: digestOf(configText), layers };
}

/** As `docker save` before 25 wrote it: the layers in folders of their own, one a link. */
export async function dockerArchive(
  images: readonly { readonly image: ImageFixture; readonly tags: readonly string[] }[],
): Promise<Buffer> {
  const files: TarFile[] = [];
  const manifest = [];
  for (const { image, tags } of images) {
    const paths = image.layers.map((layer) => `${digestOf(layer).slice(7)}/layer.tar`);
    for (const [index, layer] of image.layers.entries()) {
      const name = paths[index] ?? "";
      if (!files.some((file) => file.name === name)) files.push({ name, content: layer });
    }
    const config = `${image.id.slice(7)}.json`;
    files.push({ name: config, content: image.configText });
    manifest.push({ Config: config, RepoTags: tags.length === 0 ? null : tags, Layers: paths });
  }
  files.push({ name: "repositories", content: "{}" });
  files.push({ name: "manifest.json", content: JSON.stringify(manifest) });
  return makeTar(files);
}

/** An OCI layout with gzip layers and no manifest.json. */
export async function ociLayout(image: ImageFixture, name: string): Promise<Buffer> {
  const blobs = new Map<string, Uint8Array | string>();
  const add = (bytes: Uint8Array | string, mediaType: string) => {
    const digest = digestOf(bytes);
    blobs.set(digest, bytes);
    return { mediaType, digest, size: Buffer.byteLength(bytes) };
  };
  const layers = image.layers.map((layer) =>
    add(gzipSync(layer), "application/vnd.oci.image.layer.v1.tar+gzip"),
  );
  const config = add(image.configText, "application/vnd.oci.image.config.v1+json");
  const manifestType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = add(
    JSON.stringify({ schemaVersion: 2, mediaType: manifestType, config, layers }),
    manifestType,
  );
  const index = {
    schemaVersion: 2,
    manifests: [{ ...manifest, annotations: { "io.containerd.image.name": name } }],
  };
  return makeTar([
    { name: "oci-layout", content: '{"imageLayoutVersion":"1.0.0"}' },
    { name: "index.json", content: JSON.stringify(index) },
    ...[...blobs].map(([digest, content]) => ({
      name: `blobs/${digest.replace(":", "/")}`,
      content,
    })),
  ]);
}
