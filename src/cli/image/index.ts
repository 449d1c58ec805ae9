/** `skep image …` and its top-level words: `images`, `pull`, `load`, `save`, `import`, `tag`, `rmi`. */

import { pipeline } from "node:stream/promises";
import { EngineError } from "#base/error.ts";
import type { ImageSummary } from "#wire/docker/images.ts";
import {
  canonicalReference,
  parseReference,
  type Reference,
  withDefaultTag,
} from "#wire/reference.ts";
import { buildCommand } from "../builder/command.ts";
import {
  type Command,
  type CommandContext,
  FILTER_FLAG,
  FORMAT_FLAG,
  filtersQuery,
  forEachArg,
  NO_TRUNC_FLAG,
  QUIET_FLAG,
} from "../command.ts";
import { inspectAll } from "../inspect.ts";
import { checkOutput, openForRead, writeWhole } from "../open-file.ts";
import { formatListing, type Row } from "../output/table.ts";
import { ago, humanSize, SUM_DIGITS, utcSeconds } from "../output/units.ts";
import { listingOptions } from "../settings.ts";
import { MORE_COMMANDS } from "./history.ts";
import { encodePlatform, platformFlag, platformQuery } from "./platform.ts";
import { checkReference, pullImage, showProgress } from "./pull.ts";
import { SEARCH_COMMAND } from "./search.ts";

function rowsOf(image: ImageSummary, full: boolean): readonly Row[] {
  const tags = image.RepoTags?.length ? image.RepoTags : ["<none>:<none>"];
  return tags.map((name) => {
    const colon = name.lastIndexOf(":");
    return {
      ID: full ? image.Id : image.Id.replace("sha256:", "").slice(0, 12),
      Repository: name.slice(0, colon),
      Tag: name.slice(colon + 1),
      Digest: image.RepoDigests?.[0]?.split("@")[1] ?? "<none>",
      CreatedSince: ago(image.Created * 1000, Date.now()),
      CreatedAt: utcSeconds(image.Created),
      Size: humanSize(image.Size),
      VirtualSize: humanSize(image.Size, SUM_DIGITS),
      // Known to `system df` only.
      SharedSize: "N/A",
      UniqueSize: "N/A",
      Containers: "N/A",
    };
  });
}

async function list(context: CommandContext): Promise<number> {
  const { args, client, env, flags, stdout } = context;
  if (flags.bool("tree")) return (await import("./tree.ts")).tree(context);
  const filters = [...flags.list("filter"), ...args.map((name) => `reference=${name}`)];
  const images = await client.get<readonly ImageSummary[]>("/images/json", {
    all: flags.bool("all"),
    digests: flags.bool("digests"),
    filters: filtersQuery(filters),
  });
  const digest = flags.bool("digests") ? "{{.Digest}}\t" : "";
  stdout.write(
    formatListing(
      {
        table: `{{.Repository}}\t{{.Tag}}\t${digest}{{.ID}}\t{{.CreatedSince}}\t{{.Size}}`,
        headings: {
          ID: "IMAGE ID",
          Repository: "REPOSITORY",
          Tag: "TAG",
          Digest: "DIGEST",
          CreatedSince: "CREATED",
          CreatedAt: "CREATED AT",
          Size: "SIZE",
          VirtualSize: "SIZE",
          SharedSize: "SHARED SIZE",
          UniqueSize: "UNIQUE SIZE",
          Containers: "CONTAINERS",
        },
        rows: images.flatMap((image) => rowsOf(image, flags.bool("no-trunc"))),
        quietField: "ID",
      },
      listingOptions({ env, flags }, "imagesFormat"),
    ),
  );
  return 0;
}

async function load(context: CommandContext): Promise<number> {
  const { client, flags, stdin, stdout } = context;
  const path = flags.string("input");
  const platform = await platformQuery(context, "1.48");
  if (path === undefined && (stdin as { isTTY?: boolean }).isTTY === true) {
    throw new EngineError("invalid-argument", "requested load from stdin, but stdin is empty");
  }
  const raw = path === undefined ? stdin : await openForRead(path);
  const body = await client.stream("POST", "/images/load", {
    raw,
    headers: { "Content-Type": "application/x-tar" },
    query: { quiet: flags.bool("quiet") || stdout.isTTY !== true, platform },
  });
  await showProgress(context, body);
  return 0;
}

async function importImage(context: CommandContext): Promise<number> {
  const { args, client, flags, stdin } = context;
  const [source = "-", reference = ""] = args;
  const [repo = "", tag] = reference.split(/:(?=[^/]*$)/);
  const remote = /^https?:\/\//.test(source);
  const archive = source === "-" ? stdin : remote ? undefined : await openForRead(source);
  const body = await client.stream("POST", "/images/create", {
    ...(archive === undefined ? {} : { raw: archive }),
    headers: { "Content-Type": "application/x-tar" },
    query: {
      fromSrc: remote ? source : "-",
      repo,
      tag,
      message: flags.string("message"),
      changes: flags.list("change"),
      platform: flags.string("platform"),
    },
  });
  await showProgress(context, body);
  return 0;
}

async function save(context: CommandContext): Promise<number> {
  const { args, client, flags, stdout } = context;
  const path = flags.string("output");
  if (path === undefined && stdout.isTTY === true) {
    throw new EngineError(
      "invalid-argument",
      "cowardly refusing to save to a terminal. Use the -o flag or redirect",
    );
  }
  if (path !== undefined) await checkOutput(path, "save image");
  const platform = await platformQuery(context, "1.48");
  const body = await client.stream("GET", "/images/get", { query: { names: args, platform } });
  if (path === undefined) await pipeline(body, stdout, { end: false });
  else await writeWhole(path, body);
  return 0;
}

async function remove(context: CommandContext): Promise<number> {
  const { flags } = context;
  const platforms = flags
    .list("platform")
    .flatMap((value) => value.split(","))
    .map(encodePlatform);
  if (platforms.length > 0) await context.client.requireVersion("platform", "1.50");
  return forEachArg(context, async (name) => {
    const deleted = await context.client.delete<readonly { Untagged?: string; Deleted?: string }[]>(
      `/images/${name}`,
      { force: flags.bool("force"), noprune: flags.bool("no-prune"), platforms },
    );
    return deleted
      .map(({ Untagged, Deleted }) =>
        Untagged === undefined ? `Deleted: ${Deleted}` : `Untagged: ${Untagged}`,
      )
      .join("\n");
  });
}

function fullName(reference: Reference, allTags: boolean): string {
  const { domain, path } = reference;
  return allTags ? `${domain}/${path}` : canonicalReference(withDefaultTag(reference));
}

export const COMMANDS: readonly Command[] = [
  {
    path: ["image", "ls"],
    aliases: ["list"],
    shortcuts: [["images"]],
    usage: "[OPTIONS] [REPOSITORY[:TAG]]",
    summary: "List images",
    flags: [
      { name: "all", short: "a", kind: "bool", usage: "Show all images" },
      { name: "digests", kind: "bool", usage: "Show digests" },
      { name: "tree", kind: "bool", usage: "Show what each image takes, its names together" },
      FILTER_FLAG,
      FORMAT_FLAG,
      QUIET_FLAG,
      NO_TRUNC_FLAG,
    ],
    minArgs: 0,
    maxArgs: 1,
    run: list,
  },
  {
    path: ["image", "pull"],
    shortcuts: [["pull"]],
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    summary: "Download an image from a registry",
    flags: [
      { name: "all-tags", short: "a", kind: "bool", usage: "Download all tags of the repository" },
      { name: "disable-content-trust", kind: "bool", usage: "Accepted", hidden: true },
      { name: "platform", kind: "string", usage: "Platform of the image, as os/arch" },
      { name: "quiet", short: "q", kind: "bool", usage: "Suppress the progress" },
    ],
    minArgs: 1,
    maxArgs: 1,
    run: async (context) => {
      const { flags, stdout } = context;
      const image = context.args[0] ?? "";
      checkReference(image);
      const quiet = flags.bool("quiet");
      await pullImage(context, image, {
        allTags: flags.bool("all-tags"),
        platform: flags.string("platform"),
        quiet,
        tells: true,
      });
      const parsed = parseReference(image);
      if (parsed.ok) stdout.write(`${fullName(parsed.value, flags.bool("all-tags"))}\n`);
      return 0;
    },
  },
  {
    path: ["image", "load"],
    shortcuts: [["load"]],
    usage: "[OPTIONS]",
    summary: "Load images from a tar archive or STDIN",
    flags: [
      {
        name: "input",
        short: "i",
        kind: "string",
        usage: "Read from tar archive file instead of STDIN",
      },
      platformFlag("Load the image of this platform only"),
      { name: "quiet", short: "q", kind: "bool", usage: "Suppress the load output" },
    ],
    minArgs: 0,
    maxArgs: 0,
    run: load,
  },
  {
    path: ["image", "import"],
    shortcuts: [["import"]],
    usage: "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    summary: "Import the contents of a tarball to create an image",
    flags: [
      {
        name: "change",
        short: "c",
        kind: "list",
        usage: "Apply Dockerfile instructions to the image",
      },
      { name: "message", short: "m", kind: "string", usage: "Set a commit message" },
      platformFlag("Platform that the image is for"),
    ],
    minArgs: 1,
    maxArgs: 2,
    run: importImage,
  },
  {
    path: ["image", "save"],
    shortcuts: [["save"]],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    summary: "Save one or more images to a tar archive",
    flags: [
      { name: "output", short: "o", kind: "string", usage: "Write to a file instead of STDOUT" },
      platformFlag("Save the image of this platform only"),
    ],
    minArgs: 1,
    maxArgs: undefined,
    run: save,
  },
  {
    path: ["image", "tag"],
    shortcuts: [["tag"]],
    usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    summary: "Create a tag that refers to an image",
    flags: [],
    minArgs: 2,
    maxArgs: 2,
    run: async ({ args, client }) => {
      const [source = "", target = ""] = args;
      for (const name of [source, target]) checkReference(name, true);
      const [repo = "", tag] = target.split(/:(?=[^/]*$)/);
      await client.post(`/images/${source}/tag`, undefined, { query: { repo, tag } });
      return 0;
    },
  },
  {
    path: ["image", "rm"],
    aliases: ["remove"],
    shortcuts: [["rmi"]],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    summary: "Remove one or more images",
    flags: [
      { name: "force", short: "f", kind: "bool", usage: "Force removal of the image" },
      { name: "no-prune", kind: "bool", usage: "Do not delete untagged parents" },
      { ...platformFlag("Remove the image of this platform only"), kind: "list" },
    ],
    minArgs: 1,
    maxArgs: undefined,
    run: remove,
  },
  {
    path: ["image", "inspect"],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    summary: "Show an image in full",
    flags: [
      { ...FORMAT_FLAG, short: "f" },
      platformFlag("Only where the image is of this platform"),
    ],
    minArgs: 1,
    maxArgs: undefined,
    run: async (context) =>
      inspectAll(context, "image", ["/images/{}/json"], {
        platform: await platformQuery(context, "1.49"),
      }),
  },
  buildCommand(["image", "build"]),
  SEARCH_COMMAND,
  ...MORE_COMMANDS,
];
