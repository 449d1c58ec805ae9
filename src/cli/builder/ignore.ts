/**
 * `.dockerignore`: which files of a context are not sent. Patterns are Go's path.Match with `**`,
 * tried in order, the last one that matches decides; one that begins with "!" takes files in again.
 * What matches a folder matches all below it.
 */

interface Rule {
  readonly pattern: RegExp;
  /** Takes in again. */
  readonly negated: boolean;
}

export class IgnoreRules {
  readonly #rules: readonly Rule[];
  /** Nothing is taken in again: an ignored folder need not be looked into. */
  readonly onlyExcludes: boolean;

  /** `lines` as in the file. */
  constructor(lines: readonly string[]) {
    this.#rules = lines.flatMap(readRule);
    this.onlyExcludes = this.#rules.every(({ negated }) => !negated);
  }

  /** `path` is relative to the context, with "/" between its parts. */
  ignores(path: string): boolean {
    let ignored = false;
    for (const { pattern, negated } of this.#rules) {
      if (ignored === negated && matchesSome(pattern, path)) ignored = !negated;
    }
    return ignored;
  }
}

function readRule(line: string): readonly Rule[] {
  const text = line.trim();
  if (text === "" || line.startsWith("#")) return [];
  const negated = text.startsWith("!");
  const bare = clean(negated ? text.slice(1).trim() : text);
  return bare === "" ? [] : [{ pattern: toPattern(bare), negated }];
}

/** Without what changes nothing: "./a//b/" is "a/b", and "/a" is from the context's root. */
function clean(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === ".." && parts.length > 0 && parts.at(-1) !== "..") parts.pop();
    else parts.push(part);
  }
  return parts.join("/");
}

/** A path is ignored with any folder that it lies in. */
function matchesSome(pattern: RegExp, path: string): boolean {
  for (let end = path.length; end > 0; end = path.lastIndexOf("/", end - 1)) {
    if (pattern.test(path.slice(0, end))) return true;
  }
  return false;
}

function toPattern(glob: string): RegExp {
  let source = "";
  for (let at = 0; at < glob.length; at += 1) {
    const char = glob[at] ?? "";
    if (glob.startsWith("**", at)) {
      at += 1;
      if (glob[at + 1] === "/") {
        at += 1;
        source += "(?:.*/)?";
      } else source += ".*";
    } else if (char === "*") source += "[^/]*";
    else if (char === "?") source += "[^/]";
    else if (char === "[" && glob.includes("]", at + 1)) {
      const end = glob.indexOf("]", at + 1);
      source += `[${glob
        .slice(at + 1, end)
        .replace(/^[!]/, "^")
        .replaceAll("\\", "\\\\")}]`;
      at = end;
    } else {
      const literal = char === "\\" && at + 1 < glob.length ? (glob[(at += 1)] ?? "") : char;
      source += literal.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
    }
  }
  try {
    return new RegExp(`^${source}$`, "s");
  } catch {
    // A class like [z-a]: matches nothing, as an unreadable pattern cannot.
    return /^(?!)$/;
  }
}
