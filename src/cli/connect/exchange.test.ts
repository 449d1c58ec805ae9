import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Answer, exchange, readAnswer } from "./exchange.ts";

const text = (answer: Answer | number) =>
  typeof answer === "number" ? answer : `${answer.status} ${answer.body.toString()}`;

const read = (bytes: string, ended = true) => text(readAnswer(Buffer.from(bytes), ended));

describe("an answer", () => {
  test.each([
    ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabX", "200 ab"],
    ["HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\nab", "200 ab"],
    ["HTTP/1.0 404 Not Found\r\n\r\nto the end", "404 to the end"],
    ["HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", "204 "],
    ["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nx", "201 x"],
    [
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;ext\r\na\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
      "200 a\r\n0123456789",
    ],
  ])("%j", (bytes, expected) => {
    expect(read(bytes)).toBe(expected);
  });

  test("is waited for until it is all there", () => {
    expect(read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", false)).toBe(43);
    expect(read("HTTP/1.1 200 OK\r\n\r\nab", false)).toBe(Number.POSITIVE_INFINITY);
    expect(read("HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", false)).toBe(
      59,
    );
  });

  test.each([
    "",
    "SSH-2.0-OpenSSH\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
    "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
  ])("that broke off is none: %j", (bytes) => {
    expect(() => read(bytes)).toThrow(/broke off|does not/);
  });

  test("of a megabyte without an end of its head is given up", () => {
    expect(() => read("x".repeat(1 << 20), false)).toThrow("does not answer in HTTP");
  });

  test("of noise is refused or read, and never more", () => {
    const heads = fc.constantFrom(
      "",
      "HTTP/1.1 200 OK\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
    );
    fc.assert(
      fc.property(heads, fc.uint8Array({ maxLength: 200 }), fc.boolean(), (head, noise, ended) => {
        const bytes = Buffer.concat([Buffer.from(head), noise]);
        try {
          const answer = readAnswer(bytes, ended);
          if (typeof answer === "number") expect(answer).toBeGreaterThan(bytes.length);
          else expect(answer.body.length).toBeLessThanOrEqual(bytes.length);
        } catch (error) {
          expect((error as Error).message).toMatch(/broke off|does not/);
        }
      }),
    );
  });
});

describe("an exchange", () => {
  const folder = mkdtempSync(join(tmpdir(), "skep-exchange-"));
  const path = join(folder, "s");
  let answer: (socket: Socket) => void = () => undefined;
  let server: Server;

  beforeAll(async () => {
    server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on("error", () => undefined);
      socket.once("data", () => answer(socket));
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
  });
  afterAll(() => {
    server.close();
    rmSync(folder, { recursive: true });
  });

  test("ends as soon as the answer is there, though the connection stays", async () => {
    answer = (socket) => {
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
      setImmediate(() => socket.write("cd"));
    };
    expect(text(await exchange(connect(path), "GET / HTTP/1.1\r\n\r\n"))).toBe("200 abcd");
  });

  test("with a connection that breaks off is an error", async () => {
    answer = (socket) => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
    await expect(exchange(connect(path), "x")).rejects.toThrow("broke off");
    answer = (socket) => socket.destroy();
    await expect(exchange(connect(path), "x")).rejects.toThrow();
    await expect(exchange(connect("/nowhere/s"), "x")).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("is given up with its signal", async () => {
    const signal = AbortSignal.timeout(1);
    answer = () => undefined;
    await expect(exchange(connect(path), "x", signal)).rejects.toThrow("given up");
    await expect(exchange(connect(path), "x", signal)).rejects.toThrow("given up");
  });
});
