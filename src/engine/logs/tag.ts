/** The tag of a container's log lines: docker's template fields, "{{.Name}}/{{.ID}}". Pure. */

import { EngineError } from "#base/error.ts";
import { shortId } from "#base/ids.ts";

export interface TagSubject {
  readonly id: string;
  readonly name: string;
  readonly imageId: string;
  readonly imageName: string;
  readonly command: string;
  readonly daemonName: string;
}

const FIELDS: Readonly<Record<string, (subject: TagSubject) => string>> = {
  ID: ({ id }) => shortId(id),
  FullID: ({ id }) => id,
  Name: ({ name }) => name,
  ImageID: ({ imageId }) => shortId(imageId.replace(/^sha256:/, "")),
  ImageFullID: ({ imageId }) => imageId,
  ImageName: ({ imageName }) => imageName,
  Command: ({ command }) => command,
  DaemonName: ({ daemonName }) => daemonName,
};

/** `template` "" = the container's short id. Refuses fields that there are not. */
export function renderTag(template: string, subject: TagSubject): string {
  return (template || "{{.ID}}").replace(/\{\{\s*([^}]*?)\s*\}\}/g, (_, expression: string) => {
    const name = /^\.(\w+)$/.exec(expression)?.[1] ?? "";
    const field = Object.hasOwn(FIELDS, name) ? FIELDS[name] : undefined;
    if (field === undefined) {
      throw new EngineError(
        "invalid-argument",
        `invalid tag: "${expression}" is none of ${Object.keys(FIELDS).join(", ")}`,
      );
    }
    return field(subject);
  });
}
