import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatIpv4, formatIpv6, parseIp, parseIpv4, parseIpv6, parsePrefix } from "./ip.ts";

describe("addresses", () => {
  it("come back from their text as they were", () => {
    fc.assert(
      fc.property(fc.nat(0xffff_ffff), (value) => {
        expect(parseIpv4(formatIpv4(value))).toBe(value);
      }),
    );
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }), (value) => {
        expect(parseIpv6(formatIpv6(value))).toBe(value);
      }),
    );
  });

  it.each([
    ["fe80:0:0:0:0:0:0:1", "fe80::1"],
    ["::", "::"],
    ["2001:db8:0:1:0:0:0:1", "2001:db8:0:1::1"],
    ["1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"],
  ])("%s is written %s", (text, canonical) => {
    const value = parseIpv6(text);
    expect(value === undefined ? undefined : formatIpv6(value)).toBe(canonical);
  });

  it.each(["", "1.2.3", "1.2.3.256", "01.2.3.4", "1::2::3", "12345::", "1:2:3:4:5:6:7:8:9", "::g"])(
    "%s is none",
    (text) => expect(parseIp(text)).toBeUndefined(),
  );

  it("knows IPv4 inside IPv6", () => {
    expect(parseIp("::ffff:10.0.0.1")).toEqual({ family: 4, value: 0x0a000001 });
  });

  it("throws on no text", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        parseIp(text);
        parsePrefix(text);
      }),
    );
  });

  it.each(["10.0.0.0/33", "10.0.0.0/", "10.0.0.0", "::/129", "10.0.0.0/8/8"])(
    "%s is no prefix",
    (text) => expect(parsePrefix(text)).toBeUndefined(),
  );
});
