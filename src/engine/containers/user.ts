/** Who a process runs as: "user", "uid", "user:group"… looked up in the image's own tables. Pure. */

import { EngineError } from "#base/error.ts";

export interface ProcessUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
}

/** The image's /etc/passwd and /etc/group; "" for one that is not there. */
export interface UserTables {
  readonly passwd: string;
  readonly group: string;
}

interface Group {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

const ID_MAX = 2 ** 31 - 1;

export function resolveUser(
  text: string,
  groupAdd: readonly string[],
  tables: UserTables,
): ProcessUser {
  const [userText = "", groupText = ""] = text.split(":", 2);
  const groups = parseGroups(tables.group);
  const found = findUser(userText, tables.passwd);
  const gid = groupText === "" ? found.gid : findGroup(groupText, groups);
  const additional = new Set<number>();
  // A group that is named replaces the user's own ones, as in login(1) with a group given.
  if (groupText === "") {
    for (const group of groups) {
      if (found.name !== "" && group.members.includes(found.name)) additional.add(group.gid);
    }
  }
  for (const name of groupAdd) additional.add(findGroup(name, groups));
  additional.delete(gid);
  return { uid: found.uid, gid, additionalGids: [gid, ...additional].filter(unique) };
}

function unique(value: number, index: number, all: readonly number[]): boolean {
  return all.indexOf(value) === index;
}

function findUser(text: string, passwd: string): { name: string; uid: number; gid: number } {
  const wanted = text === "" ? "0" : text;
  const id = numeric(wanted);
  for (const line of passwd.split("\n")) {
    const [name = "", , uid = "", gid = ""] = line.trim().split(":");
    if (name === "" || numeric(uid) === undefined) continue;
    if (name === wanted || (id !== undefined && Number(uid) === id)) {
      return { name, uid: Number(uid), gid: numeric(gid) ?? 0 };
    }
  }
  if (id === undefined) {
    throw new EngineError(
      "invalid-argument",
      `unable to find user ${text}: no matching entries in passwd file`,
    );
  }
  return { name: "", uid: checkRange(id), gid: 0 };
}

function findGroup(text: string, groups: readonly Group[]): number {
  const named = groups.find(({ name }) => name === text);
  if (named !== undefined) return named.gid;
  const id = numeric(text);
  if (id === undefined) {
    throw new EngineError(
      "invalid-argument",
      `unable to find group ${text}: no matching entries in group file`,
    );
  }
  return checkRange(id);
}

function parseGroups(table: string): Group[] {
  const groups: Group[] = [];
  for (const line of table.split("\n")) {
    const [name = "", , gid = "", members = ""] = line.trim().split(":");
    const id = numeric(gid);
    if (name === "" || id === undefined) continue;
    groups.push({ name, gid: id, members: members.split(",") });
  }
  return groups;
}

function numeric(text: string): number | undefined {
  return /^\d{1,10}$/.test(text) ? Number(text) : undefined;
}

function checkRange(id: number): number {
  if (id > ID_MAX) {
    throw new EngineError("invalid-argument", "uids and gids must be in range 0-2147483647");
  }
  return id;
}
