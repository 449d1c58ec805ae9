/**
 * Figures for operators, and how they are written down: Prometheus' text format, version 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/). Counters and histograms live where
 * things happen; gauges are read when somebody asks, so they are families made on the spot.
 */

import { invariant } from "./invariant.ts";

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  /** Appended to the family's name: "", "_bucket", "_sum", "_count". */
  readonly suffix?: string;
  readonly labels?: Labels;
  readonly value: number;
}

export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly samples: readonly Sample[];
}

/** Whoever has figures to tell. */
export interface FamilySource {
  family(): Family;
}

export function gauge(name: string, help: string, value: number | readonly Sample[]): Family {
  return {
    name,
    help,
    type: "gauge",
    samples: typeof value === "number" ? [{ value }] : value,
  };
}

/** A count that somebody else keeps. */
export function counter(name: string, help: string, value: number): Family {
  return { name, help, type: "counter", samples: [{ value }] };
}

export class Counter implements FamilySource {
  readonly #name: string;
  readonly #help: string;
  #value = 0;

  constructor(name: string, help: string) {
    this.#name = name;
    this.#help = help;
  }

  add(count = 1): void {
    invariant(count >= 0, "a counter does not fall");
    this.#value += count;
  }

  family(): Family {
    return counter(this.#name, this.#help, this.#value);
  }
}

/** Prometheus' own default, seconds. */
export const DEFAULT_BUCKETS: readonly number[] = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

/** Upper bounds that double: for what spans several orders of magnitude. */
export function doublingBuckets(first: number, count: number): readonly number[] {
  return Array.from({ length: count }, (_, at) => first * 2 ** at);
}

interface Series {
  /** One more than there are bounds: the last is for what exceeds all of them. */
  readonly counts: number[];
  sum: number;
}

/** How values, mostly seconds, are spread; with one label at most, whose values are known before. */
export class Histogram implements FamilySource {
  readonly #name: string;
  readonly #help: string;
  readonly #buckets: readonly number[];
  readonly #label: string;
  /** By the label's value. */
  readonly #series = new Map<string, Series>();

  constructor(
    name: string,
    help: string,
    options: {
      readonly buckets?: readonly number[];
      readonly label?: { readonly name: string; readonly values: readonly string[] };
    } = {},
  ) {
    this.#name = name;
    this.#help = help;
    this.#buckets = options.buckets ?? DEFAULT_BUCKETS;
    this.#label = options.label?.name ?? "";
    // What has not happened yet is a zero rather than a gap.
    for (const value of options.label?.values ?? [""]) {
      this.#series.set(value, { counts: this.#buckets.map(() => 0).concat(0), sum: 0 });
    }
  }

  observe(value: number, label = ""): void {
    const series = this.#series.get(label);
    invariant(series !== undefined, "a histogram's label has one of its known values");
    const at = this.#buckets.findIndex((bound) => value <= bound);
    const bucket = at < 0 ? this.#buckets.length : at;
    series.counts[bucket] = (series.counts[bucket] ?? 0) + 1;
    series.sum += value;
  }

  family(): Family {
    const samples: Sample[] = [];
    for (const [value, { counts, sum }] of this.#series) {
      const labels: Labels = this.#label === "" ? {} : { [this.#label]: value };
      let total = 0;
      for (const [at, count] of counts.entries()) {
        total += count;
        const le = at < this.#buckets.length ? numberText(this.#buckets[at] ?? 0) : "+Inf";
        samples.push({ suffix: "_bucket", labels: { ...labels, le }, value: total });
      }
      samples.push(
        { suffix: "_sum", labels, value: sum },
        { suffix: "_count", labels, value: total },
      );
    }
    return { name: this.#name, help: this.#help, type: "histogram", samples };
  }
}

/** The text that a scrape is answered with. */
export function exposition(families: readonly Family[]): string {
  const lines: string[] = [];
  for (const { name, help, type, samples } of families) {
    lines.push(`# HELP ${name} ${escapeHelp(help)}`, `# TYPE ${name} ${type}`);
    for (const { suffix = "", labels = {}, value } of samples) {
      lines.push(`${name}${suffix}${labelText(labels)} ${numberText(value)}`);
    }
  }
  return `${lines.join("\n")}\n`;
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escapeHelp(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function escapeLabel(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"');
}

function numberText(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  if (value === Number.NEGATIVE_INFINITY) return "-Inf";
  return String(value);
}
