/** File names as text: no file is looked at. Unix names, and Windows names passed through. */

/** Where relative names of a Compose file start, and what `~` is. */
export interface Places {
  readonly workingDir: string;
  readonly home: string;
}

export function isAbsolute(name: string): boolean {
  return name.startsWith("/") || isWindowsAbsolute(name);
}

function isWindowsAbsolute(name: string): boolean {
  return /^[A-Za-z]:[\\/]/.test(name) || name.startsWith("\\\\");
}

/** Absolute, without `.`, `..` and doubled slashes; `~` at the start is the home folder. */
export function resolvePath(name: string, { workingDir, home }: Places): string {
  const expanded = /^~(\/|$)/.test(name) ? `${home}${name.slice(1)}` : name;
  if (isWindowsAbsolute(expanded)) return expanded;
  return clean(expanded.startsWith("/") ? expanded : `${workingDir}/${expanded}`);
}

function clean(name: string): string {
  const parts: string[] = [];
  for (const part of name.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}
