import { expect, test } from "vitest";
import { failureOf, shownLine } from "./output.ts";

test("steps, cached and committed layers read as docker's", () => {
  expect(shownLine("STEP 1/3: FROM a:1")).toBe("Step 1/3 : FROM a:1");
  expect(shownLine("[2/2] STEP 2/3: RUN x")).toBe("[2/2] Step 2/3 : RUN x");
  expect(shownLine(`--> Using cache ${"ab".repeat(32)}`)).toBe(
    " ---> Using cache\n ---> abababababab",
  );
  expect(shownLine("--> abcdef12345")).toBe(" ---> abcdef12345");
});

test("what a command of the build prints stays, the copying of layers does not", () => {
  for (const line of ["Copying", "", " STEP 1/2: x", "COMMITTED", "--> nothing"]) {
    expect(shownLine(line)).toBe(line);
  }
  for (const line of [
    "COMMIT",
    "[1/2] COMMIT",
    "Trying to pull docker.io/library/a:1...",
    "Copying blob 123 done",
    'Resolving "a" using unqualified-search registries (/x)',
  ]) {
    expect(shownLine(line)).toBeUndefined();
  }
});

test("a command that failed is named, and its exit code is the build's", () => {
  const failed = 'error building at STEP "RUN exit 7": while running runtime: exit status 7';
  expect(failureOf(["subprocess exited with status 7", failed], 7)).toEqual({
    message: "The command '/bin/sh -c exit 7' returned a non-zero code: 7",
    code: 7,
  });
  const list = 'Error: building at STEP "RUN ["a","b c"]": while running runtime: exit status 2';
  const target = 'Error: The target "x" was not found in the provided Dockerfile';
  expect(failureOf([target], 125).message).toBe('target stage "x" could not be found');
  expect(failureOf([list], 125).message).toBe("The command 'a b c' returned a non-zero code: 2");
});

test("any other failure is told as it was, and ends with 1", () => {
  expect(failureOf(["noise", "Error: no such stage"], 125)).toEqual({
    message: "no such stage",
    code: 1,
  });
  expect(failureOf(["what happened", ""], 126)).toEqual({
    message: "buildah exited with 126: what happened",
    code: 1,
  });
  expect(failureOf([], null)).toEqual({ message: "the builder was ended", code: 1 });
});
