import { expect, test } from "vitest";
import { type CachedImage, type CachedLayer, chooseImages } from "./cache.ts";

const layer = (id: string, parent: string, size: number): CachedLayer => ({
  id,
  parent,
  size,
  created: "",
});
const LAYERS = [layer("base", "", 100), layer("a", "base", 10), layer("b", "base", 20)];
const IMAGES: readonly CachedImage[] = [
  { id: "old", layer: "a", createdMs: 1 },
  { id: "new", layer: "b", createdMs: 2 },
  { id: "empty", layer: "", createdMs: 0 },
];

const chosen = (keepBytes: number | undefined, beforeMs: number | undefined) =>
  chooseImages(IMAGES, LAYERS, { keepBytes, beforeMs }).map(({ id }) => id);

test("without a choice everything goes", () => {
  expect(chosen(undefined, undefined)).toEqual(["new", "old", "empty"]);
});

test("the newest stay within the bytes that may stay; a layer of several counts once", () => {
  expect(chosen(130, undefined)).toEqual([]);
  expect(chosen(125, undefined)).toEqual(["old"]);
  expect(chosen(1, undefined)).toEqual(["new", "old"]);
});

test("only what is old enough goes", () => {
  expect(chosen(undefined, 2)).toEqual(["old", "empty"]);
  expect(chosen(undefined, 0)).toEqual([]);
});
