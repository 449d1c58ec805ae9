import fc from "fast-check";
import { expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { parseGoJson } from "./go-json.ts";

test.each([
  ["an empty body is absent", "", undefined],
  ["null is absent", "null", undefined],
  [
    "names match without case",
    '{"image":"a","HOSTCONFIG":{"binds":["x"]}}',
    {
      Image: "a",
      HostConfig: { Binds: ["x"] },
    },
  ],
  ["null fields are absent", '{"Cmd":null,"HostConfig":{"Init":null}}', { HostConfig: {} }],
  ["user's keys stay", '{"Labels":{"image":"x","env":"y"}}', { Labels: { image: "x", env: "y" } }],
  [
    "fields below user's keys are fields",
    '{"EndpointsConfig":{"name":{"ipamconfig":{"ipv4address":"1"}}}}',
    {
      EndpointsConfig: { name: { IPAMConfig: { IPv4Address: "1" } } },
    },
  ],
  ["unknown fields stay", '{"whatIsThis":[1,{"tty":true}]}', { whatIsThis: [1, { Tty: true }] }],
])("%s", (_what, text, expected) => {
  expect(parseGoJson(text)).toEqual(expected);
});

test("any text is a value or an invalid-argument", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      try {
        parseGoJson(text);
      } catch (error) {
        expect(error).toBeInstanceOf(EngineError);
        expect((error as EngineError).code).toBe("invalid-argument");
      }
    }),
  );
});

test("a body nested too deep is refused, not a stack overflow", () => {
  const deep = `${'{"a":'.repeat(10_000)}1${"}".repeat(10_000)}`;
  expect(() => parseGoJson(deep)).toThrow(/nested too deep/);
});

test("__proto__ is a name like any other", () => {
  const value = parseGoJson('{"Labels":{"__proto__":"x"}}') as { Labels: object };
  expect(Object.keys(value.Labels)).toEqual(["__proto__"]);
  expect(({} as { polluted?: string }).polluted).toBeUndefined();
});

test.each([
  ['{"Hostname":7}', "number into Go struct field Hostname of type string"],
  ['{"Tty":"yes"}', "string into Go struct field Tty of type bool"],
  ['{"Memory":1.5}', "number 1.5 into Go struct field Memory of type int64"],
  ['{"Env":["A=1",2]}', "number into Go struct field Env of type string"],
  ['{"HostConfig":{"PortBindings":{"80/tcp":{}}}}', "object into Go struct field PortBindings"],
  ['{"Labels":{"a":1}}', "number into Go struct field Labels of type string"],
])("%s is refused as Go's decoder refuses it", (text, message) => {
  expect(() => parseGoJson(text)).toThrow(message);
});

test("a single text is a list of one where docker's lists of words are", () => {
  expect(parseGoJson('{"Cmd":"echo","Labels":{"Cmd":"x"}}')).toEqual({
    Cmd: ["echo"],
    Labels: { Cmd: "x" },
  });
});
