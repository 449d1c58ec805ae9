import fc from "fast-check";
import { expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { compileTemplate } from "./go-template.ts";

const DATA = {
  ID: "abc",
  Names: ["/a", "/b"],
  State: { Running: true, ExitCode: 0, Error: "" },
  Labels: { "x.y": "1", a: "2" },
  Nets: { b: { IP: "10.0.0.2" }, a: { IP: "10.0.0.1" } },
  Html: "<a&b>",
  Label: (name: string) => `label ${name}`,
};

test.each([
  ["{{.ID}}", "abc"],
  ["{{ .State.Running }} {{.State.ExitCode}}", "true 0"],
  ["{{json .Names}}", '["/a","/b"]'],
  ["{{json .Html}}", '"\\u003ca\\u0026b\\u003e"'],
  ["{{.Names}} {{.Labels}}", "[/a /b] map[a:2 x.y:1]"],
  ['{{join .Names ","}}', "/a,/b"],
  ["{{range .Names}}[{{.}}]{{end}}", "[/a][/b]"],
  ["{{range $k, $v := .Nets}}{{$k}}={{$v.IP}} {{end}}", "a=10.0.0.1 b=10.0.0.2 "],
  ["{{range $i, $n := .Names}}{{$i}}{{$n}}{{end}}", "0/a1/b"],
  ['{{index .Labels "x.y"}}{{index .Names 1}}', "1/b"],
  ['{{(index .Nets "a").IP}}', "10.0.0.1"],
  ["{{if .State.Error}}bad{{else}}good{{end}}", "good"],
  ["{{if .State.Error}}1{{else if .State.Running}}2{{else}}3{{end}}", "2"],
  ['{{if and (eq .ID "abc") (not .State.Error)}}yes{{end}}', "yes"],
  ["{{with .State}}{{.ExitCode}}{{$.ID}}{{end}}", "0abc"],
  ['{{$x := .ID}}{{$x | upper | printf "%-5s|"}}', "ABC  |"],
  ["a {{- .ID -}}  b", "aabcb"],
  ["{{/* nothing */}}{{len .Names}}", "2"],
  ['{{printf "%.2s" .ID}}', "ab"],
  ["{{.Labels.a}} {{.Labels.none}}", "2 <no value>"],
  ['{{.Label "x"}}', "label x"],
  ['{{truncate .ID 2}}{{pad "x" 1 2}}|', "ab x  |"],
])("%s", (source, expected) => {
  expect(compileTemplate(source)(DATA)).toBe(expected);
});

test.each([
  ["{{.ID", "unclosed action"],
  ["{{nope .ID}}", 'function "nope" not defined'],
  ["{{range .Names}}", "unexpected EOF"],
  ["{{end}}", "unexpected {{end}}"],
  ["{{}}", "missing value for command"],
  ["{{(.ID}}", "unclosed left paren"],
])("%s is refused: %s", (source, message) => {
  expect(() => compileTemplate(source)).toThrow(message);
});

test("an unknown field is an error, not an empty string", () => {
  expect(() => compileTemplate("{{.Nope}}")(DATA)).toThrow("can't evaluate field Nope");
  expect(() => compileTemplate("{{.ID.constructor}}")(DATA)).toThrow(EngineError);
});

test("any text either compiles or is refused with an EngineError", () => {
  const parts = fc.constantFrom(
    "{{",
    "}}",
    ".ID",
    "range ",
    "end",
    "if ",
    "(",
    ")",
    "|",
    '"',
    "$x",
    " ",
    "-",
  );
  fc.assert(
    fc.property(fc.array(parts, { maxLength: 12 }), (words) => {
      try {
        compileTemplate(words.join(""))(DATA);
      } catch (error) {
        expect(error).toBeInstanceOf(EngineError);
      }
    }),
  );
});
