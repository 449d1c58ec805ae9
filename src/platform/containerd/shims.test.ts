import { expect, test } from "vitest";
import { shimTarget } from "./shims.ts";

const words = (text: string) => [...text.split(" "), ""];
const SERVING = "/usr/bin/containerd-shim-runc-v2 -namespace ns -id abc -address /run/c.sock";

test("a serving shim of the right containerd and namespace, and nothing else", () => {
  const target = (text: string) => shimTarget(words(text), "/run/c.sock", "ns");
  expect(target(SERVING)).toBe("abc");
  expect(target(SERVING.replace("/usr/bin/", ""))).toBe("abc");
  expect(target(SERVING.replace("-namespace ns", "-namespace other"))).toBeUndefined();
  expect(target(SERVING.replace("/run/c.sock", "/run/d.sock"))).toBeUndefined();
  expect(target(`${SERVING} start`)).toBeUndefined();
  expect(target(`${SERVING} delete`)).toBeUndefined();
  expect(target(`vi ${SERVING}`)).toBeUndefined();
  expect(target("/usr/bin/containerd-shim-runc-v2")).toBeUndefined();
  expect(target("")).toBeUndefined();
});
