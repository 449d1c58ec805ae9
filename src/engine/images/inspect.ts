/** `docker image inspect` and `docker history`: the image config in docker's words. */

import type { HistoryItem, ImageConfig, ImageInspect } from "#wire/docker/images.ts";
import { collectImages, familiarOf, findImage, type ImageContext } from "./context.ts";
import { imageSize } from "./list.ts";
import type { StoredImage } from "./stored-image.ts";

/** What docker shows of a config that does not say. */
const EMPTY_CONFIG: ImageConfig = {
  Hostname: "",
  Domainname: "",
  User: "",
  AttachStdin: false,
  AttachStdout: false,
  AttachStderr: false,
  Tty: false,
  OpenStdin: false,
  StdinOnce: false,
  Env: null,
  Cmd: null,
  Image: "",
  Volumes: null,
  WorkingDir: "",
  Entrypoint: null,
  OnBuild: null,
  Labels: null,
};

export async function inspectImage(context: ImageContext, name: string): Promise<ImageInspect> {
  const stored = await findImage(context, name);
  const records = (await collectImages(context)).get(stored.id)?.records ?? [];
  const { image } = stored;
  const size = await imageSize(context, stored);
  const names = (wanted: "tag" | "digest") =>
    records.filter(({ reference }) => reference?.[wanted] !== undefined).flatMap(familiarsOf);
  const tagged = Math.max(0, ...records.map(({ updatedAtMs }) => updatedAtMs));
  return {
    Id: stored.id,
    RepoTags: names("tag"),
    RepoDigests: names("digest"),
    Parent: "",
    Comment: image.comment ?? "",
    ...(image.created === undefined ? {} : { Created: image.created }),
    ...(image.container === undefined ? {} : { Container: image.container }),
    ContainerConfig: { ...EMPTY_CONFIG, ...image.container_config },
    DockerVersion: image.docker_version ?? "",
    Author: image.author ?? "",
    Config: { ...EMPTY_CONFIG, ...stored.config },
    Architecture: image.architecture,
    ...(image.variant === undefined ? {} : { Variant: image.variant }),
    Os: image.os,
    ...(image["os.version"] === undefined ? {} : { OsVersion: image["os.version"] }),
    Size: size,
    VirtualSize: size,
    GraphDriver: { Name: context.unpacker.snapshotter, Data: null },
    RootFS: { Type: image.rootfs.type, Layers: image.rootfs.diff_ids },
    Metadata: { LastTagTime: new Date(tagged).toISOString() },
  };
}

function familiarsOf(record: Parameters<typeof familiarOf>[0]): readonly string[] {
  const text = familiarOf(record);
  return text === undefined ? [] : [text];
}

/** Newest first; the image itself is the first row, what is below it has no id here. */
export async function imageHistory(
  context: ImageContext,
  name: string,
): Promise<readonly HistoryItem[]> {
  const stored = await findImage(context, name);
  const records = (await collectImages(context)).get(stored.id)?.records ?? [];
  const tags = records.filter(({ reference }) => reference?.tag !== undefined).flatMap(familiarsOf);
  const rows = await historyRows(context, stored);
  return rows
    .toReversed()
    .map((row, index) => (index === 0 ? { ...row, Id: stored.id, Tags: tags } : row));
}

async function historyRows(context: ImageContext, stored: StoredImage): Promise<HistoryItem[]> {
  const rows: HistoryItem[] = [];
  let layer = 0;
  const row = async (item: {
    readonly created?: string | undefined;
    readonly created_by?: string | undefined;
    readonly comment?: string | undefined;
    readonly empty_layer?: boolean | undefined;
  }): Promise<HistoryItem> => {
    const chainId = item.empty_layer === true ? undefined : stored.chainIds[layer];
    if (item.empty_layer !== true) layer += 1;
    const created = Date.parse(item.created ?? "");
    return {
      Id: "<missing>",
      Created: Number.isNaN(created) ? 0 : Math.floor(created / 1000),
      CreatedBy: item.created_by ?? "",
      Tags: null,
      Size: chainId === undefined ? 0 : await context.unpacker.size(chainId),
      Comment: item.comment ?? "",
    };
  };
  for (const item of stored.image.history ?? []) rows.push(await row(item));
  // Some builders write no history, or less than there are layers.
  while (layer < stored.chainIds.length) rows.push(await row({ created: stored.image.created }));
  return rows;
}
