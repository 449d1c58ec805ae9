import fc from "fast-check";
import { expect, test } from "vitest";
import { goSyntaxProblem } from "./go-json-syntax.ts";

// As encoding/json says them.
test.each([
  ["{", "unexpected EOF"],
  ["[1,", "unexpected EOF"],
  ['{"a', "unexpected EOF"],
  ["tru", "unexpected EOF"],
  ["bad", "invalid character 'b' looking for beginning of value"],
  ["", "unexpected EOF"],
  ["{a:1}", "invalid character 'a' looking for beginning of object key string"],
  ['{"a":1,}', "invalid character '}' looking for beginning of object key string"],
  ['{"a" 1}', "invalid character '1' after object key"],
  ['{"a":1 "b"}', "invalid character '\"' after object key:value pair"],
  ["[1 2]", "invalid character '2' after array element"],
  ["[1,]", "invalid character ']' looking for beginning of value"],
  ["'a'", "invalid character '\\'' looking for beginning of value"],
  ["trux", "invalid character 'x' in literal true (expecting 'e')"],
  ['"a\nb"', "invalid character '\\n' in string literal"],
  ['"\\x"', "invalid character 'x' in string escape code"],
  ['"\\u12g4"', "invalid character 'g' in \\u hexadecimal character escape"],
  ["-a", "invalid character 'a' in numeric literal"],
  ["1.a", "invalid character 'a' after decimal point in numeric literal"],
  ["1ex", "invalid character 'x' in exponent of numeric literal"],
  ["[01]", "invalid character '1' after array element"],
  ["{} {}", "unexpected content after JSON"],
])("%s", (text, problem) => {
  expect(goSyntaxProblem(text)).toBe(problem);
});

test("finds a problem in every text that is no JSON, and none in JSON", () => {
  const noise = fc.string({ unit: fc.constantFrom(...Array.from('{}[]",:0123-+.eEtrufalsn\\ x')) });
  fc.assert(
    fc.property(
      fc.oneof(
        noise,
        fc.json().map((text) => text.slice(0, -1)),
      ),
      (text) => {
        let isJson = true;
        try {
          JSON.parse(text);
        } catch {
          isJson = false;
        }
        // Whole JSON is a value with nothing after it, of which nobody asks.
        if (!isJson) expect(goSyntaxProblem(text)).toMatch(/^unexpected |^invalid character /);
      },
    ),
    { numRuns: 2000 },
  );
});
