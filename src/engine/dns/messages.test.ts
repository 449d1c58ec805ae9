/**
 * Messages as bytes: whatever arrives is read or refused and never throws; what is written is what
 * another implementation reads; what passes through keeps all but id, spelling and age.
 */

import { type Answer, decode, encode } from "dns-packet";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cacheKey, ReplyCache } from "./cache.ts";
import { type Query, RCODE, readQuery, writeFailure, writeRefusal, writeReply } from "./query.ts";
import { questionOf, readReply, replyTo, sameQuestion } from "./reply.ts";

const label = fc.stringMatching(/^[a-zA-Z0-9_-]{1,20}$/);
const domain = fc.array(label, { minLength: 1, maxLength: 5 }).map((labels) => labels.join("."));
const type = fc.constantFrom("A" as const, "AAAA" as const, "PTR" as const, "MX" as const);
const question = fc.record({ id: fc.nat(0xffff), name: domain, type, edns: fc.boolean() });

type Asked = typeof question extends fc.Arbitrary<infer T> ? T : never;

function queryBytes({ id, name, type: kind, edns }: Asked): Buffer {
  const opt: Answer = {
    type: "OPT",
    name: ".",
    udpPayloadSize: 1232,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: [],
  };
  return encode({
    type: "query",
    id,
    flags: 0x100,
    questions: [{ type: kind, name }],
    additionals: edns ? [opt] : [],
  });
}

function replyBytes(id: number, name: string, ttls: readonly number[], more = {}): Buffer {
  const answers: Answer[] = ttls.map((ttl) => ({ type: "A", name, ttl, data: "192.0.2.9" }));
  return encode({ type: "response", id, questions: [{ type: "A", name }], answers, ...more });
}

describe("a query", () => {
  it("is read as it was written", () => {
    fc.assert(
      fc.property(question, (asked) => {
        const reading = readQuery(queryBytes(asked));
        expect(reading).toEqual({
          kind: "query",
          query: {
            id: asked.id,
            name: asked.name,
            type: asked.type,
            internet: true,
            recursionDesired: true,
            edns: asked.edns,
            maxBytes: asked.edns ? 1232 : 512,
          },
        });
      }),
    );
  });

  it("may be any bytes: none of them throws, and no answer is taken for one", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
        const reading = readQuery(bytes);
        if (bytes.length < 12 || (bytes[2] ?? 0) > 127) expect(reading.kind).toBe("ignore");
      }),
      { numRuns: 2000 },
    );
  });

  it("that is damaged anywhere is read or refused", () => {
    const damage = fc.array(fc.tuple(fc.nat(100), fc.nat(255)), { maxLength: 4 });
    fc.assert(
      fc.property(question, damage, fc.nat(100), (asked, changes, cut) => {
        const bytes = queryBytes(asked);
        for (const [at, value] of changes) bytes[at % bytes.length] = value;
        readQuery(bytes.subarray(0, bytes.length - (cut % bytes.length)));
      }),
      { numRuns: 2000 },
    );
  });

  it("that nobody can answer gets a code, whatever its name is", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 63 }), (raw) => {
        const length = Buffer.from([raw.length]);
        const header = queryBytes({ id: 9, name: "a", type: "A", edns: true }).subarray(0, 12);
        const tail = Buffer.from([0, 0, 1, 0, 1, 0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0]);
        const query = Buffer.concat([header, length, raw, tail]);
        expect(readQuery(query).kind).toBe("query");
        const reply = readReply(writeFailure(query, RCODE.failed));
        expect(reply).toMatchObject({ rcode: RCODE.failed, truncated: false });
        expect(reply?.question).toEqual(questionOf(query));
      }),
    );
  });

  it("of another kind, or of more than one question, is refused with its id", () => {
    const bytes = queryBytes({ id: 77, name: "a", type: "A", edns: false });
    const two = Buffer.from(bytes);
    two.writeUInt16BE(2, 4);
    expect(readQuery(two)).toEqual({ kind: "refuse", id: 77, rcode: RCODE.malformed });
    const pair = encode({
      type: "query",
      id: 77,
      questions: [
        { type: "A", name: "a" },
        { type: "A", name: "b" },
      ],
    });
    expect(readQuery(pair)).toEqual({ kind: "refuse", id: 77, rcode: RCODE.malformed });
    const many = Buffer.from(bytes);
    many.writeUInt16BE(0xffff, 10);
    expect(readQuery(many)).toEqual({ kind: "refuse", id: 77, rcode: RCODE.malformed });
    const update = Buffer.from(bytes);
    update.writeUInt8(5 << 3, 2);
    expect(readQuery(update)).toEqual({ kind: "refuse", id: 77, rcode: RCODE.notImplemented });
    expect(decode(writeRefusal(77, RCODE.refused))).toMatchObject({ id: 77, rcode: "REFUSED" });
  });
});

describe("an answer of ours", () => {
  it("is read by others as it was meant; what does not fit is told", () => {
    fc.assert(
      fc.property(question, fc.nat(60), fc.constantFrom(512, 1232, 0xffff), (asked, count, max) => {
        const reading = readQuery(queryBytes({ ...asked, type: "A" }));
        if (reading.kind !== "query") throw new Error("no query");
        const query: Query = reading.query;
        const answers: Answer[] = Array.from({ length: count }, (_, index) => ({
          type: "A",
          name: query.name,
          ttl: 0,
          data: `10.0.0.${index}`,
        }));
        const bytes = writeReply(query, RCODE.ok, answers, max);
        expect(bytes.length).toBeLessThanOrEqual(max);
        const packet = decode(bytes);
        const kept = packet.answers ?? [];
        expect(packet).toMatchObject({ id: asked.id, type: "response", flag_ra: true });
        expect(packet.questions).toMatchObject([{ name: asked.name, type: "A" }]);
        expect(packet.additionals).toHaveLength(asked.edns ? 1 : 0);
        expect(packet.flag_tc).toBe(kept.length < count);
        expect(kept.map((answer) => "data" in answer && answer.data)).toEqual(
          answers.slice(0, kept.length).map((answer) => "data" in answer && answer.data),
        );
        // As many as fit, not fewer: clients of old never ask again by TCP.
        if (kept.length < count) {
          const each = encode({ answers: [answers[0] as Answer] }).length - 12;
          expect(bytes.length + each).toBeGreaterThan(max);
        }
      }),
    );
  });
});

describe("an answer of others", () => {
  it("may be any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
        const reply = readReply(Buffer.from(bytes));
        for (const offset of reply?.ttlOffsets ?? []) {
          expect(offset + 4).toBeLessThanOrEqual(bytes.length);
        }
        questionOf(Buffer.from(bytes));
      }),
      { numRuns: 2000 },
    );
  });

  it("passes with the asker's id and spelling, older by its age, and else untouched", () => {
    const spelled = fc.tuple(domain, fc.array(fc.boolean(), { minLength: 10, maxLength: 10 }));
    fc.assert(
      fc.property(
        spelled,
        fc.array(fc.nat(1000), { minLength: 1, maxLength: 5 }),
        fc.nat(2000),
        ([name, upper], ttls, age) => {
          const other = name
            .split("")
            .map((letter, at) => (upper[at % 10] ? letter.toUpperCase() : letter.toLowerCase()))
            .join("");
          const reply = readReply(replyBytes(1, name, ttls));
          if (reply === undefined) throw new Error("no reply");
          const query = queryBytes({ id: 4711, name: other, type: "A", edns: false });
          expect(sameQuestion(query, reply)).toBe(true);
          const packet = decode(replyTo(query, reply, age));
          expect(packet.id).toBe(4711);
          expect(packet.questions?.[0]?.name).toBe(other);
          expect(packet.answers?.map((answer) => "ttl" in answer && answer.ttl)).toEqual(
            ttls.map((ttl) => Math.max(0, ttl - age)),
          );
          expect(reply.ttl).toBe(Math.min(...ttls));
        },
      ),
    );
  });

  it("that is cut short anywhere is none; extensions have no time to live", () => {
    const opt: Answer = {
      type: "OPT",
      name: ".",
      udpPayloadSize: 1232,
      extendedRcode: 0,
      ednsVersion: 0,
      flags: 0x8000,
      flag_do: true,
      options: [],
    };
    const whole = replyBytes(1, "a.example", [60, 90], { additionals: [opt] });
    for (const message of [whole, replyBytes(1, "a.example", [60])]) {
      for (let length = 0; length < message.length; length += 1) {
        expect(readReply(message.subarray(0, length)), String(length)).toBeUndefined();
      }
    }
    const reply = readReply(whole);
    if (reply === undefined) throw new Error("no reply");
    expect(reply).toMatchObject({ ttl: 60, negative: false });
    expect(reply.ttlOffsets).toHaveLength(2);
    const query = queryBytes({ id: 1, name: "a.example", type: "A", edns: true });
    const [kept] = decode(replyTo(query, reply, 10)).additionals ?? [];
    expect(kept).toMatchObject({ type: "OPT", flag_do: true });
  });

  it("to another question is told apart", () => {
    const reply = readReply(replyBytes(1, "one.example", [60]));
    if (reply === undefined) throw new Error("no reply");
    const asked = (name: string, kind: "A" | "AAAA") =>
      queryBytes({ id: 1, name, type: kind, edns: false });
    expect(sameQuestion(asked("one.example", "A"), reply)).toBe(true);
    expect(sameQuestion(asked("two.example", "A"), reply)).toBe(false);
    expect(sameQuestion(asked("one.example", "AAAA"), reply)).toBe(false);
  });

  it("that denies is kept as long as its zone says, one that is cut not at all", () => {
    const soa = (ttl: number, minimum: number): Answer => ({
      type: "SOA",
      name: "example",
      ttl,
      data: { mname: "ns", rname: "x", serial: 1, refresh: 1, retry: 1, expire: 1, minimum },
    });
    const ttlOf = (more: object) => readReply(replyBytes(1, "x.example", [], more))?.ttl;
    expect(ttlOf({ flags: 3, authorities: [soa(900, 20)] })).toBe(20);
    expect(ttlOf({ flags: 3, authorities: [soa(10, 20)] })).toBe(10);
    expect(ttlOf({ flags: 0, authorities: [soa(900, 20)] })).toBe(20);
    expect(ttlOf({ flags: 3 })).toBe(0);
    expect(ttlOf({ flags: 2, authorities: [soa(900, 20)] })).toBe(0);
    expect(readReply(replyBytes(1, "x", [60], { flags: 0x200 }))?.ttl).toBe(0);
  });
});

describe("the cache", () => {
  it("gives what holds still, and never holds more than its bound", () => {
    const cache = new ReplyCache();
    const put = (name: string, ttl: number, nowMs: number) => {
      const reply = readReply(replyBytes(1, name, [ttl]));
      if (reply !== undefined) cache.put(name, reply, nowMs);
    };
    put("a", 60, 0);
    put("never", 0, 0);
    put("long", 86_400, 0);
    expect(cache.get("a", 59_999)).toMatchObject({ ageSeconds: 59 });
    expect(cache.get("a", 60_000)).toBeUndefined();
    expect(cache.get("never", 0)).toBeUndefined();
    expect(cache.get("long", 299_999)).toBeDefined();
    expect(cache.get("long", 300_000)).toBeUndefined();
    put("kept", 300, 0);
    for (let index = 0; index < 1000; index += 1) {
      put(`n${index}`, 300, 0);
      cache.get("kept", 0);
    }
    expect(cache.size).toBe(256);
    expect(cache.get("kept", 0)).toBeDefined();
    expect(cache.get("n0", 0)).toBeUndefined();
  });

  it("keys: the same but for id and case, and nothing else", () => {
    const base = queryBytes({ id: 1, name: "a.Example", type: "A", edns: false });
    const same = queryBytes({ id: 2, name: "A.example", type: "A", edns: false });
    expect(cacheKey(base, "udp")).toBe(cacheKey(same, "udp"));
    const others = [
      cacheKey(base, "tcp"),
      cacheKey(queryBytes({ id: 1, name: "b.example", type: "A", edns: false }), "udp"),
      cacheKey(queryBytes({ id: 1, name: "a.example", type: "AAAA", edns: false }), "udp"),
      cacheKey(queryBytes({ id: 1, name: "a.example", type: "A", edns: true }), "udp"),
    ];
    expect(new Set([...others, cacheKey(base, "udp")]).size).toBe(5);
  });
});
