import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { searchRegistry, splitTerm } from "./search.ts";

const asked: string[] = [];
const server = createServer((request, response) => {
  const url = request.url ?? "";
  asked.push(`${url} ${request.headers.authorization ?? ""}`);
  if (url.includes("q=nothing")) response.writeHead(404).end();
  else if (url.includes("q=locked")) response.writeHead(401).end();
  else if (url.includes("q=page")) response.end("<html>");
  else {
    const hit = { name: "a/b", description: null, star_count: 7, is_official: true };
    response.end(JSON.stringify({ results: [hit, { no: "name" }] }));
  }
});
let host = "";

beforeAll(async () => {
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => server.close());

const search = (words: string) =>
  searchRegistry(`${host}/${words}`, 5, {
    config: { insecure: [], mirrors: [], certFolders: [] },
    userAgent: "test",
    auth: { username: "u", password: "p" },
    signal: undefined,
  });

test("a host before the words is the registry that is asked", () => {
  expect(splitTerm("a/b")).toEqual({ domain: "docker.io", words: "a/b" });
  expect(splitTerm("library/b")).toEqual({ domain: "docker.io", words: "b" });
  expect(splitTerm("docker.io/b")).toEqual({ domain: "docker.io", words: "b" });
  expect(splitTerm("r:5000/a/b")).toEqual({ domain: "r:5000", words: "a/b" });
});

test("hits with what they lack filled in, asked for with credentials", async () => {
  expect(await search("some thing")).toEqual([
    { name: "a/b", description: "", star_count: 7, is_official: true, is_automated: false },
  ]);
  expect(asked.at(-1)).toBe(`/v1/search?q=some+thing&n=5 Basic ${btoa("u:p")}`);
});

test("a registry without a search, a locked one and a web page are told apart", async () => {
  await expect(search("nothing")).rejects.toMatchObject({ code: "unimplemented" });
  await expect(search("locked")).rejects.toMatchObject({ code: "unauthenticated" });
  await expect(search("page")).rejects.toThrow("answers a search with something else");
});
