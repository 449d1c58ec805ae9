// A plug-in for networks and addresses as its own process, as people write them:
// `node network-plugin.mjs SOCKET FOLDER TAG [MODE]`. MODE `global` is its scope, `forgetful` starts
// without what it knew and wants to be told again. Each network is a bridge `TAG` + a number, each
// endpoint a veth pair with one end on it. What it knows lies in FOLDER/state; every call is appended
// to FOLDER/calls as one JSON line. It prints "ready" when it listens. Options of a network: `refuse`
// (CreateNetwork fails with that text), `broken=CreateEndpoint|Join` (that method fails), `own`
// (the plug-in chooses the address), `stuck=METHOD` (done, but never answered; prints "stuck"; `stuck-once` the
// first time only). While FOLDER/busy is there, AllocateNetwork fails. Its pools are 10.231.N.0/24.
import { execFileSync } from "node:child_process";
import { appendFileSync, existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";

const [, , socket, folder, tag, mode] = process.argv;
const scope = mode === "global" ? "global" : "local";
const path = join(folder, "state");
const known = existsSync(path) && mode !== "forgetful"
  ? JSON.parse(readFileSync(path, "utf8"))
  : { next: 1, networks: {}, endpoints: {}, pools: {}, allocated: {} };
// Whoever reads it finds it whole.
const keep = () => {
  writeFileSync(`${path}.new`, JSON.stringify(known));
  renameSync(`${path}.new`, path);
};
const ip = (...words) => execFileSync("ip", words, { stdio: ["ignore", "pipe", "pipe"] });
const quietly = (...words) => {
  try {
    ip(...words);
  } catch {
    // It is gone.
  }
};
const number = () => known.next++;

const network = {
  GetCapabilities: () => ({ Scope: scope, ConnectivityScope: scope }),
  AllocateNetwork: ({ NetworkID, Options }) => {
    if (existsSync(join(folder, "busy"))) return { Err: "no tunnel is free" };
    if (known.allocated[NetworkID]) return { Err: `network ${NetworkID} exists` };
    known.allocated[NetworkID] = Options;
    return { Options: { tunnel: `${number()}` } };
  },
  FreeNetwork: ({ NetworkID }) => {
    if (!known.allocated[NetworkID]) return { Err: `no network ${NetworkID}` };
    delete known.allocated[NetworkID];
    return {};
  },
  CreateNetwork: ({ NetworkID, Options, IPv4Data }) => {
    const options = Options["com.docker.network.generic"];
    if (options.refuse) return { Err: options.refuse };
    const bridge = `${tag}${number()}`;
    ip("link", "add", bridge, "type", "bridge");
    ip("link", "set", bridge, "up");
    const { Pool, Gateway } = IPv4Data[0];
    if (Gateway) ip("addr", "add", Gateway, "dev", bridge);
    known.networks[NetworkID] = { bridge, options, Pool, Gateway };
    return {};
  },
  DeleteNetwork: ({ NetworkID }) => {
    const found = known.networks[NetworkID];
    if (found === undefined) return { Err: `no network ${NetworkID}` };
    quietly("link", "del", found.bridge);
    delete known.networks[NetworkID];
    return {};
  },
  CreateEndpoint: ({ NetworkID, EndpointID, Interface }) => {
    const { options } = known.networks[NetworkID];
    if (options.broken === "CreateEndpoint") return { Err: "no port is free" };
    known.endpoints[EndpointID] = { NetworkID };
    const MacAddress = Interface.MacAddress ? "" : `02:99:00:00:00:${(16 + number()).toString(16)}`;
    const Address = options.own && !Interface.Address ? `${options.own}${number()}/24` : "";
    return { Interface: { MacAddress, Address } };
  },
  Join: ({ NetworkID, EndpointID }) => {
    const { bridge, options, Gateway } = known.networks[NetworkID];
    if (options.broken === "Join") return { Err: "the cable is cut" };
    const at = number();
    const [host, inner] = [`${tag}h${at}`, `${tag}c${at}`];
    ip("link", "add", host, "type", "veth", "peer", "name", inner);
    ip("link", "set", host, "master", bridge, "up");
    known.endpoints[EndpointID].host = host;
    return {
      InterfaceName: { SrcName: inner, DstPrefix: "plug" },
      Gateway: options.own ? "" : Gateway.split("/")[0],
      StaticRoutes: [{ Destination: "10.232.0.0/16", RouteType: 1, NextHop: "" }],
    };
  },
  Leave: () => ({}),
  DeleteEndpoint: ({ EndpointID }) => {
    const found = known.endpoints[EndpointID];
    if (found === undefined) return { Err: `no endpoint ${EndpointID}` };
    if (found.host) quietly("link", "del", found.host);
    delete known.endpoints[EndpointID];
    return {};
  },
  ProgramExternalConnectivity: () => ({}),
  RevokeExternalConnectivity: () => ({}),
};

const address = {
  GetCapabilities: () => ({ RequiresMACAddress: false, RequiresRequestReplay: mode === "forgetful" }),
  GetDefaultAddressSpaces: () => ({
    LocalDefaultAddressSpace: "here",
    GlobalDefaultAddressSpace: "everywhere",
  }),
  RequestPool: ({ Pool, Options }) => {
    if (Options.refuse) return { Error: Options.refuse };
    const given = Pool || `10.231.${number()}.0/24`;
    const PoolID = `here/${given}`;
    known.pools[PoolID] = { Pool: given, taken: [] };
    return { PoolID, Pool: known.pools[PoolID].Pool, Data: {} };
  },
  ReleasePool: ({ PoolID }) => {
    if (known.pools[PoolID]?.taken.length > 0) return { Error: "addresses are in use" };
    delete known.pools[PoolID];
    return {};
  },
  RequestAddress: ({ PoolID, Address, Options }) => {
    const { Pool, taken } = known.pools[PoolID];
    const gateway = Options.RequestAddressType === "com.docker.network.gateway";
    const base = Pool.replace(/\d+\/\d+$/, "");
    // Unlike the engine's own: routers are at the end, containers from 100 on.
    let last = gateway ? 254 : 100;
    while (taken.includes(`${base}${last}`)) last += 1;
    const given = Address || `${base}${last}`;
    if (taken.includes(given)) return { Error: `${given} is taken` };
    taken.push(given);
    return { Address: `${given}/24`, Data: {} };
  },
  ReleaseAddress: ({ PoolID, Address }) => {
    const pool = known.pools[PoolID];
    pool.taken = pool.taken.filter((one) => one !== Address);
    return {};
  },
};

function answer(method, body) {
  if (method === "Plugin.Activate") return { Implements: ["NetworkDriver", "IpamDriver"] };
  const [part, name] = method.split(".");
  const done = { NetworkDriver: network, IpamDriver: address }[part]?.[name]?.(body);
  keep();
  return done;
}

createServer(async (request, response) => {
  let text = "";
  for await (const chunk of request) text += chunk;
  const method = request.url.slice(1);
  const body = text === "" ? undefined : JSON.parse(text);
  appendFileSync(join(folder, "calls"), `${JSON.stringify({ method, body })}\n`);
  let [status, said] = [200, undefined];
  try {
    const options =
      body?.Options?.["com.docker.network.generic"] ??
      known.networks[body?.NetworkID]?.options ??
      body?.Options;
    said = answer(method, body);
    const once = known.once !== true && method === `NetworkDriver.${options?.["stuck-once"]}`;
    known.once ||= once;
    if (once || method === `NetworkDriver.${options?.stuck}`) {
      process.stdout.write("stuck\n");
      return;
    }
    if (said === undefined) [status, said] = [404, "404 page not found"];
  } catch (error) {
    [status, said] = [500, { Err: `the plug-in failed: ${error.message}` }];
  }
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(typeof said === "string" ? said : JSON.stringify(said));
}).listen(socket, () => process.stdout.write("ready\n"));
