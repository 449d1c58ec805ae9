import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  addAddress,
  createVeth,
  packRequests,
  parseAcks,
  replaceDefaultRoute,
  setLink,
} from "./rtnetlink.ts";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describe("requests", () => {
  // Judged by the kernel in test/networks/platform.test.ts; here only what it cannot show.
  test("numbers are written into each of a buffer, lengths are whole", () => {
    const requests = [setLink({ name: "lo", up: true }), addAddress(2, "10.0.0.9/24")];
    const packed = packRequests(requests, 7);
    const data = new DataView(packed.buffer);
    const second = requests[0]?.bytes.length ?? 0;
    expect(data.getUint32(0, true)).toBe(second);
    expect(data.getUint32(8, true)).toBe(7);
    expect(data.getUint32(second + 8, true)).toBe(8);
    expect(packed.length).toBe(second + (requests[1]?.bytes.length ?? 0));
  });

  test.each([
    ["10.0.0.9/24", "0a0000ff"],
    ["172.17.0.2/16", "ac11ffff"],
    ["10.1.2.3/21", "0a0107ff"],
    ["10.1.2.3/31", undefined],
    ["10.1.2.3/32", undefined],
  ])("the broadcast address of %s", (cidr, broadcast) => {
    const found = /0800040000000000|08000400([0-9a-f]{8})/.exec(hex(addAddress(1, cidr).bytes));
    expect(found?.[1]).toBe(broadcast);
  });

  test("every part is padded to four bytes", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z0-9]{1,15}$/), (name) => {
        const mac = "02:42:0a:00:00:02";
        const pair = createVeth({ name, mtu: 1500, peer: { name: "eth0", mac, pid: 1 } });
        expect(pair.bytes.length % 4).toBe(0);
      }),
    );
    expect(replaceDefaultRoute(3, "fd00::1").bytes.length % 4).toBe(0);
  });
});

/** struct nlmsghdr and what follows. */
function message(type: number, flags: number, sequence: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(16 + body.length);
  const data = new DataView(bytes.buffer);
  data.setUint32(0, bytes.length, true);
  data.setUint16(4, type, true);
  data.setUint16(6, flags, true);
  data.setUint32(8, sequence, true);
  bytes.set(body, 16);
  return bytes;
}

describe("acknowledgements", () => {
  test("done, refused, and refused with an explanation", () => {
    const done = new Uint8Array(20);
    expect(parseAcks(message(2, 0x100, 5, done))).toEqual([{ sequence: 5, errno: 0, message: "" }]);
    const refused = new Uint8Array(20);
    new DataView(refused.buffer).setInt32(0, -17, true);
    const text = new TextEncoder().encode("taken\0");
    const explained = new Uint8Array([...refused, 10, 0, 1, 0, ...text]);
    expect(parseAcks(message(2, 0x300, 6, explained))).toEqual([
      { sequence: 6, errno: 17, message: "taken" },
    ]);
  });

  test("whatever comes, it ends and stays inside", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(parseAcks(bytes).length).toBeLessThanOrEqual(bytes.length / 16);
      }),
    );
    const flags = fc.integer({ min: 0, max: 0xffff });
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 4, maxLength: 99 }), flags, (body, bits) => {
        expect(parseAcks(message(2, bits, 1, body))).toHaveLength(1);
      }),
    );
  });
});
