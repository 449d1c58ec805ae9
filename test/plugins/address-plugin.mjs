// A strict plug-in for addresses alone, as its own process: `node address-plugin.mjs SOCKET FOLDER [forgetful]`.
// What it has given lies in FOLDER/state, so that several processes can be one plug-in's; every call is
// appended to FOLDER/calls as one JSON line. It prints "ready" when it listens. Pools nobody chose are
// 10.23N.0.0/24, addresses go from .100 on and routers are .254. It holds against whoever gives back what he
// does not have (`wrong` in the state). While FOLDER/full is there it gives no addresses; FOLDER/stuck
// makes the next RequestAddress give one and never say so (it prints "stuck").
import { appendFileSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";

const [, , socket, folder, mode] = process.argv;
const path = join(folder, "state");
const fresh = { next: 4, pools: {}, wrong: [] };
if (mode === "forgetful" || !existsSync(path)) writeFileSync(path, JSON.stringify(fresh));
const within = (name) => existsSync(join(folder, name));

function change(work) {
  const known = JSON.parse(readFileSync(path, "utf8"));
  const said = work(known);
  writeFileSync(`${path}.new`, JSON.stringify(known));
  renameSync(`${path}.new`, path);
  return said;
}

const driver = {
  GetCapabilities: () => ({
    RequiresMACAddress: false,
    RequiresRequestReplay: mode === "forgetful",
  }),
  GetDefaultAddressSpaces: () => ({
    LocalDefaultAddressSpace: "here",
    GlobalDefaultAddressSpace: "everywhere",
  }),
  RequestPool: (known, { AddressSpace, Pool, Options }) => {
    if (Options.refuse) return { Error: Options.refuse };
    const given = Pool || `10.23${known.next++}.0.0/24`;
    const PoolID = `${AddressSpace}/${given}`;
    if (known.pools[PoolID]) return { Error: `${given} is given already` };
    known.pools[PoolID] = [];
    return { PoolID, Pool: given, Data: {} };
  },
  ReleasePool: (known, { PoolID }) => {
    const taken = known.pools[PoolID];
    if (taken === undefined) known.wrong.push(PoolID);
    if (taken?.length > 0) return { Error: `addresses are in use: ${taken}` };
    delete known.pools[PoolID];
    return {};
  },
  RequestAddress: (known, { PoolID, Address, Options }) => {
    if (within("full")) return { Error: "no address is left" };
    const taken = known.pools[PoolID];
    if (taken === undefined) return { Error: `no pool ${PoolID}` };
    const [pool, length] = PoolID.slice(PoolID.indexOf("/") + 1).split("/");
    const base = pool.replace(/\d+$/, "");
    let last = Options.RequestAddressType === "com.docker.network.gateway" ? 254 : 100;
    while (taken.includes(`${base}${last}`)) last += 1;
    const given = Address || `${base}${last}`;
    if (taken.includes(given)) return { Error: `${given} is taken` };
    taken.push(given);
    return { Address: `${given}/${length}`, Data: {} };
  },
  ReleaseAddress: (known, { PoolID, Address }) => {
    const taken = known.pools[PoolID] ?? [];
    if (!taken.includes(Address)) known.wrong.push(`${PoolID} ${Address}`);
    known.pools[PoolID] = taken.filter((one) => one !== Address);
    return {};
  },
};

createServer(async (request, response) => {
  let text = "";
  for await (const chunk of request) text += chunk;
  const method = request.url.slice(1).replace("IpamDriver.", "");
  const body = text === "" ? {} : JSON.parse(text);
  appendFileSync(join(folder, "calls"), `${JSON.stringify({ method, body })}\n`);
  const said =
    method === "Plugin.Activate"
      ? { Implements: ["IpamDriver"] }
      : change((known) => driver[method]?.(known, body));
  if (method === "RequestAddress" && within("stuck")) {
    rmSync(join(folder, "stuck"));
    process.stdout.write("stuck\n");
    return;
  }
  response.writeHead(said === undefined ? 404 : 200, { "Content-Type": "application/json" });
  response.end(JSON.stringify(said ?? {}));
}).listen(socket, () => process.stdout.write("ready\n"));
