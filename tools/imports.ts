/**
 * Who may import whom: the table of ARCHITECTURE.md as code. A domain is a folder of `src/`; a file
 * may import from its own domain and from those in its row, and files of the pure ring may not touch
 * Node, clocks, entropy, timers or promises at all. Pure functions over (path, text), so that the
 * rules are themselves tested; `check.ts` feeds them the tree.
 */

/** Domain → domains that it may import. Order is from the bottom up. */
export const IMPORTS: Readonly<Record<string, readonly string[]>> = {
  base: [],
  wire: ["base"],
  model: ["base", "wire"],
  raft: ["base"],
  store: ["base", "wire", "model"],
  plan: ["base", "wire", "model", "store"],
  pki: ["base", "wire", "model"],
  platform: ["base", "wire", "pki"],
  engine: ["base", "wire", "model", "plan", "pki", "platform", "agent"],
  agent: ["base", "wire", "model", "platform"],
  manager: ["base", "wire", "model", "raft", "store", "plan", "pki", "platform"],
  api: ["base", "wire", "model", "platform", "engine", "manager", "agent"],
  cli: ["base", "wire", "model", "plan", "platform"],
  daemon: [
    "base",
    "wire",
    "model",
    "raft",
    "store",
    "plan",
    "pki",
    "platform",
    "engine",
    "agent",
    "manager",
    "api",
    "cli",
  ],
};

/** No clock, randomness, IO, async or `node:` import. */
export const PURE: readonly string[] = ["base", "wire", "model", "raft", "store", "plan", "pki"];

/** Domains whose imports from these others must be types only: ports, not code. */
const TYPES_ONLY: Readonly<Record<string, readonly string[]>> = {
  api: ["engine", "manager", "agent"],
  engine: ["agent"],
};

/** What the pure ring must not say, and what to use instead. */
const BANNED: readonly { readonly pattern: RegExp; readonly instead: string }[] = [
  { pattern: /\bDate\.now\b|\bnew Date\(\s*\)/, instead: "take the time as an argument" },
  { pattern: /\bMath\.random\b/, instead: "take entropy from the Random port" },
  { pattern: /\bset(Timeout|Interval|Immediate)\b/, instead: "return a wake-up time" },
  { pattern: /\bprocess\.(?!nextTick)\w+/, instead: "take it as an argument" },
  { pattern: /\bconsole\./, instead: "return what there is to say" },
  {
    pattern: /\basync\s+(function\b|\(|\w+\s*(\(|=>))|\bawait\s|\bPromise\s*[<.(]/,
    instead: "decide here, act in the effects ring",
  },
  { pattern: /\bBuffer\b/, instead: "use Uint8Array" },
];

export interface Finding {
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

/** All breaches in one source file; `path` is relative to the repository, "src/raft/log.ts". */
export function checkFile(path: string, text: string): readonly Finding[] {
  const domain = /^src\/([^/]+)\//.exec(path)?.[1];
  if (domain === undefined) return [];
  if (!(domain in IMPORTS)) {
    return [
      { path, line: 1, message: `src/${domain} is not a domain; the table is tools/imports.ts` },
    ];
  }
  const test = path.endsWith(".test.ts") || path.includes("/testing/");
  const findings: Finding[] = [];
  for (const found of importsOf(text)) {
    const message = test ? undefined : importProblem(domain, found);
    if (message !== undefined) findings.push({ path, line: found.line, message });
  }
  if (PURE.includes(domain) && !test) findings.push(...bannedWords(path, text));
  return findings;
}

interface FoundImport {
  readonly specifier: string;
  readonly typeOnly: boolean;
  readonly line: number;
}

function importsOf(text: string): readonly FoundImport[] {
  const found: FoundImport[] = [];
  const pattern =
    /^\s*(?:import|export)\s+(type\s)?[^;"'`]*?from\s*["']([^"']+)["']|^\s*import\s*["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']\s*\)/gm;
  for (const match of text.matchAll(pattern)) {
    const specifier = match[2] ?? match[3] ?? match[4];
    if (specifier === undefined) continue;
    const line = text.slice(0, match.index + match[0].indexOf(specifier)).split("\n").length;
    const dynamicType = match[4] !== undefined && /:\s*$|<\s*$/.test(text.slice(0, match.index));
    found.push({ specifier, typeOnly: match[1] !== undefined || dynamicType, line });
  }
  return found;
}

function importProblem(domain: string, found: FoundImport): string | undefined {
  const { specifier } = found;
  if (PURE.includes(domain) && specifier.startsWith("node:")) {
    return `src/${domain} is pure and may not import ${specifier}`;
  }
  const target = /^#([^/]+)\//.exec(specifier)?.[1];
  if (target === undefined) {
    return specifier.startsWith("../../src/") ||
      /^(\.\.\/)+(src|sim|test|tools|bench)\//.test(specifier)
      ? `import across domains as #domain/file.ts, not ${specifier}`
      : undefined;
  }
  if (target === domain) return `inside src/${domain}, import by a relative path`;
  if (!(IMPORTS[domain] ?? []).includes(target)) {
    return `src/${domain} may not import src/${target}`;
  }
  if ((TYPES_ONLY[domain] ?? []).includes(target) && !found.typeOnly) {
    return `src/${domain} may import only types of src/${target}`;
  }
  return undefined;
}

function bannedWords(path: string, text: string): readonly Finding[] {
  const findings: Finding[] = [];
  for (const [index, line] of withoutComments(text).split("\n").entries()) {
    for (const { pattern, instead } of BANNED) {
      const match = pattern.exec(line);
      if (match !== null) {
        findings.push({
          path,
          line: index + 1,
          message: `${match[0].trim()} is not pure: ${instead}`,
        });
      }
    }
  }
  return findings;
}

/** The text with comments and string contents blanked, line by line in place. */
function withoutComments(text: string): string {
  return text.replace(
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'/g,
    (match) => match.replace(/[^\n]/g, " "),
  );
}
