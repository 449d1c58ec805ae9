import { expect, test } from "vitest";
import { Counter, counter, doublingBuckets, exposition, gauge, Histogram } from "./metrics.ts";

test("counters and gauges, with what would break a line escaped", () => {
  const events = new Counter("events_total", "Events\nof \\ all");
  events.add();
  events.add(2);
  const text = exposition([
    events.family(),
    gauge("info", "Facts", [{ labels: { os: 'a "b" \\ \n' }, value: 1 }]),
    gauge("bad", "No number", Number.NaN),
    counter("far_total", "Much", Number.POSITIVE_INFINITY),
  ]);
  expect(text).toBe(
    [
      "# HELP events_total Events\\nof \\\\ all",
      "# TYPE events_total counter",
      "events_total 3",
      "# HELP info Facts",
      "# TYPE info gauge",
      'info{os="a \\"b\\" \\\\ \\n"} 1',
      "# HELP bad No number",
      "# TYPE bad gauge",
      "bad NaN",
      "# HELP far_total Much",
      "# TYPE far_total counter",
      "far_total +Inf",
      "",
    ].join("\n"),
  );
});

test("a histogram's buckets are cumulative, bounds belong to them, and nothing is left out", () => {
  const waits = new Histogram("wait_seconds", "Waits", { buckets: doublingBuckets(0.5, 2) });
  for (const value of [0.1, 0.5, 0.75, 3]) waits.observe(value);
  expect(exposition([waits.family()])).toBe(
    [
      "# HELP wait_seconds Waits",
      "# TYPE wait_seconds histogram",
      'wait_seconds_bucket{le="0.5"} 2',
      'wait_seconds_bucket{le="1"} 3',
      'wait_seconds_bucket{le="+Inf"} 4',
      "wait_seconds_sum 4.35",
      "wait_seconds_count 4",
      "",
    ].join("\n"),
  );
});

test("labelled series are there before anything has happened, and take no other label", () => {
  const label = { name: "action", values: ["create", "start"] };
  const actions = new Histogram("action_seconds", "Actions", { label, buckets: [1] });
  actions.observe(0.5, "start");
  const text = exposition([actions.family()]);
  expect(text).toContain('action_seconds_count{action="create"} 0');
  expect(text).toContain('action_seconds_bucket{action="start",le="1"} 1');
  expect(() => actions.observe(1, "fly")).toThrow();
});
