import { expect, test } from "vitest";
import type { NetworkInspect } from "#wire/docker/networks.ts";
import { withSwarm } from "./network-json.ts";

function network(Id: string, Scope: string): NetworkInspect {
  return { Id, Scope, Name: Id } as NetworkInspect;
}

test("a network that the managers have removed is none, though it is still here", () => {
  const here = [network("bridge", "local"), network("old", "swarm"), network("net", "swarm")];
  const ofSwarm = [network("net", "swarm"), network("far", "swarm")];
  expect(withSwarm(here, ofSwarm).map(({ Id }) => Id)).toEqual(["bridge", "net", "far"]);
  expect(withSwarm(here, undefined)).toEqual(here);
});
