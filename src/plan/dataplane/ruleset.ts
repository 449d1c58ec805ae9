/**
 * One nftables table as plain data: rendered whole, rendered as a change, and compared with what the
 * kernel lists. Every rule carries the hash of its own text as its comment, so that a listing can be
 * judged without parsing nft's expressions back. Making a base chain costs the kernel some 20 ms, an
 * element or a rule one: a change never touches a chain that stays as it is.
 */

export interface NftTable {
  readonly name: string;
  /** Named counters; they keep their values as long as the table lives. */
  readonly counters: readonly string[];
  readonly sets: readonly NftSet[];
  readonly chains: readonly NftChain[];
}

export interface NftSet {
  readonly name: string;
  readonly kind: "set" | "map";
  /** "ipv4_addr", "inet_proto . inet_service : verdict". */
  readonly type: string;
  readonly interval?: boolean;
  /** As nft writes them, names of interfaces in quotes; "key : value" in maps. */
  readonly elements: readonly string[];
}

export interface NftChain {
  readonly name: string;
  /** "type nat hook output priority -100"; none for a chain that is jumped to. */
  readonly hook?: string;
  readonly rules: readonly string[];
}

/** One entry of nft's JSON listing. */
export type NftListing = readonly Readonly<Record<string, Readonly<Record<string, unknown>>>>[];

/** Puts the table in place whatever was there before, in one transaction. */
export function renderTable(table: NftTable): string {
  const { name, counters, sets, chains } = table;
  return [
    `add table inet ${name}`,
    `delete table inet ${name}`,
    `table inet ${name} {`,
    ...counters.map((counter) => `counter ${counter} { }`),
    ...sets.map((set) => `${set.kind} ${set.name} { ${declaration(set)} ${contents(set)}}`),
    ...chains.flatMap(({ name: chain, hook, rules }) => [
      `chain ${chain} {`,
      ...(hook === undefined ? [] : [`${hook}; policy accept;`]),
      ...rules.map(withHash),
      "}",
    ]),
    "}",
  ].join("\n");
}

/**
 * What turns `before` into `after`; empty when nothing has to be done, undefined when only writing
 * the table anew does it.
 */
export function renderChange(before: NftTable, after: NftTable): string | undefined {
  if (!sameSkeleton(before, after)) return undefined;
  const { name: table } = after;
  const had = new Map(before.chains.map((chain) => [chain.name, chain]));
  const has = new Set(after.chains.map(({ name }) => name));
  const fresh = after.chains.filter(({ name }) => !had.has(name));
  const lines = fresh.map(({ name }) => `add chain inet ${table} ${name}`);
  for (const { name, rules } of after.chains) {
    const old = had.get(name)?.rules;
    if (old !== undefined && sameList(old, rules)) continue;
    if (old !== undefined) lines.push(`flush chain inet ${table} ${name}`);
    lines.push(...rules.map((rule) => `add rule inet ${table} ${name} ${withHash(rule)}`));
  }
  lines.push(...elementChanges(before, after));
  const gone = before.chains.filter(({ name }) => !has.has(name));
  lines.push(...gone.map(({ name }) => `flush chain inet ${table} ${name}`));
  lines.push(...gone.map(({ name }) => `delete chain inet ${table} ${name}`));
  return lines.join("\n");
}

/** Sets, counters and base chains are the same ones; only what is in them may differ. */
function sameSkeleton(before: NftTable, after: NftTable): boolean {
  const skeleton = ({ name, counters, sets, chains }: NftTable) =>
    JSON.stringify([
      name,
      counters,
      sets.map((set) => [set.kind, set.name, declaration(set)]),
      chains.flatMap(({ name: chain, hook }) => (hook === undefined ? [] : [[chain, hook]])),
    ]);
  return skeleton(before) === skeleton(after);
}

function elementChanges(before: NftTable, after: NftTable): string[] {
  const removed: string[] = [];
  const added: string[] = [];
  for (const [at, { name, elements }] of after.sets.entries()) {
    const old = before.sets[at]?.elements ?? [];
    const [had, has] = [new Set(old), new Set(elements)];
    const gone = old.filter((element) => !has.has(element));
    const fresh = elements.filter((element) => !had.has(element));
    const target = `element inet ${after.name} ${name}`;
    if (gone.length > 0) removed.push(`delete ${target} { ${gone.join(", ")} }`);
    if (fresh.length > 0) added.push(`add ${target} { ${fresh.join(", ")} }`);
  }
  return [...removed, ...added];
}

/** What a listing of the table ("list table inet NAME", as JSON) has that the table has not, or lacks. */
export function compareTable(table: NftTable, listing: NftListing): readonly string[] {
  const found = readListing(listing);
  const differences: string[] = [];
  const note = (what: string, wanted: readonly string[], there: readonly string[]) => {
    if (!sameList(wanted, there)) differences.push(what);
  };
  const sorted = (items: Iterable<string>) => [...items].sort();
  note("counters", sorted(table.counters), sorted(found.counters));
  note("sets", sorted(table.sets.map(({ name }) => name)), sorted(found.sets.keys()));
  note("chains", sorted(table.chains.map(({ name }) => name)), sorted(found.chains.keys()));
  for (const { name, elements } of table.sets) {
    const wanted = sorted(elements.map((element) => element.replaceAll('"', "")));
    note(`set ${name}`, wanted, sorted(found.sets.get(name) ?? []));
  }
  for (const { name, hook, rules } of table.chains) {
    const chain = found.chains.get(name);
    note(`rules of chain ${name}`, rules.map(hashOf), chain?.rules ?? []);
    if (chain !== undefined && chain.hook !== hook) differences.push(`hook of chain ${name}`);
  }
  return differences;
}

interface FoundTable {
  readonly counters: string[];
  readonly sets: Map<string, string[]>;
  readonly chains: Map<string, { readonly hook: string | undefined; readonly rules: string[] }>;
}

function readListing(listing: NftListing): FoundTable {
  const found: FoundTable = { counters: [], sets: new Map(), chains: new Map() };
  for (const { counter, set, map, chain, rule } of listing) {
    const body = set ?? map;
    if (counter !== undefined) found.counters.push(text(counter["name"]));
    if (body !== undefined) found.sets.set(text(body["name"]), list(body["elem"]).map(element));
    if (chain !== undefined) {
      const { type, hook, prio, policy } = chain;
      const base = `type ${text(type)} hook ${text(hook)} priority ${text(prio)}`;
      const judged = policy === "accept" ? base : `${base} policy ${text(policy)}`;
      const name = text(chain["name"]);
      found.chains.set(name, { hook: hook === undefined ? undefined : judged, rules: [] });
    }
    if (rule !== undefined) {
      found.chains.get(text(rule["chain"]))?.rules.push(text(rule["comment"]));
    }
  }
  return found;
}

/** An element of a set or map as `NftSet.elements` would have it, without quotes. */
function element(value: unknown): string {
  if (Array.isArray(value)) return value.map(element).join(" : ");
  if (typeof value !== "object" || value === null) return text(value);
  const [[kind, inner] = ["", undefined]] = Object.entries(value);
  const fields = (inner ?? {}) as Readonly<Record<string, unknown>>;
  switch (kind) {
    case "concat":
      return list(inner).map(element).join(" . ");
    case "prefix":
      return `${text(fields["addr"])}/${text(fields["len"])}`;
    case "goto":
    case "jump":
      return `${kind} ${text(fields["target"])}`;
    default:
      return JSON.stringify(value);
  }
}

function text(value: unknown): string {
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function declaration({ type, interval }: NftSet): string {
  return `type ${type};${interval === true ? " flags interval;" : ""}`;
}

function contents({ elements }: NftSet): string {
  return elements.length === 0 ? "" : `elements = { ${elements.join(", ")} } ; `;
}

function withHash(rule: string): string {
  return `${rule} comment "${hashOf(rule)}"`;
}

/** FNV-1a, 32 bits, in hexadecimal: tells apart what is different by accident, no more. */
export function hashOf(rule: string): string {
  let hash = 0x811c9dc5;
  for (let at = 0; at < rule.length; at += 1) {
    hash = Math.imul(hash ^ rule.charCodeAt(at), 0x01000193);
  }
  return (hash >>> 0).toString(16).padStart(8, "0");
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, at) => item === b[at]);
}
