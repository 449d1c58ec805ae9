import fc from "fast-check";
import { expect, test } from "vitest";
import { ok } from "#base/result.ts";
import { expandTemplate } from "./template.ts";

const scope = {
  data: {
    Service: { Name: "web", Labels: { tier: "front", "a.b": "dotted" } },
    Task: { Slot: "3" },
  },
  functions: { env: (name = "") => ok(`<${name}>`) },
};

test.each([
  ["plain", "plain"],
  ["{{.Service.Name}}-{{ .Task.Slot }}", "web-3"],
  ['{{index .Service.Labels "a.b"}}', "dotted"],
  ['{{index .Service.Labels "none"}}', ""],
  ["{{.Service.Labels.tier}}", "front"],
  ["{{.Service.Labels}}", "map[a.b:dotted tier:front]"],
  ['{{env "HOME"}}', "<HOME>"],
  ['{{join "-" .Service.Name .Task.Slot}}', "web-3"],
  ["a {{- .Task.Slot -}} b", "a 3 b".replaceAll(" ", "")],
  ["x{{/* nothing */}}y", "xy"],
  ['{{"a}b"}}', "a}b"],
])("%s gives %s", (text, expected) => {
  expect(expandTemplate(text, scope)).toEqual({ ok: true, value: expected });
});

test.each([
  ["{{.Service.Nope}}", "can't evaluate field Nope"],
  ["{{.Service.Name", "unclosed action"],
  ["{{nope}}", 'function "nope" not defined'],
  ["{{if .Service}}x{{end}}", 'function "if" not defined'],
  ["{{.Service.Name | env}}", "unexpected"],
  ["{{}}", "missing value for command"],
  ["{{.Service.__proto__}}", "can't evaluate field __proto__"],
])("%s is refused: %s", (text, reason) => {
  const result = expandTemplate(text, scope);
  expect(result.ok ? "" : result.error).toContain(reason);
});

test("any text gives a value or a reason, and text without actions is itself", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const result = expandTemplate(text, scope);
      if (!text.includes("{{")) expect(result).toEqual({ ok: true, value: text });
    }),
  );
  fc.assert(
    fc.property(fc.string(), (body) => {
      expect(expandTemplate(`{{${body}}}`, scope)).toHaveProperty("ok");
    }),
  );
});
