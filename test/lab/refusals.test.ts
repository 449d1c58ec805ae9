/**
 * Bad input against a whole cluster, through the docker commands and the API: each is refused with
 * docker's status and sentence, and changes nothing.
 */

import { readFileSync } from "node:fs";
import { connect, type IncomingHttpHeaders } from "node:http2";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DOCKERS, IMAGE, Lab, until } from "./lab.ts";

let lab: Lab;

beforeAll(async () => {
  // h3 stays outside, to knock at the door.
  lab = await Lab.up({ hosts: 3, swarm: false });
  await lab.loadImage(["h1", "h2"]);
  await lab.docker("h1", "swarm", "init");
  await lab.docker(
    "h2",
    "swarm",
    "join",
    "--token",
    await token("manager"),
    `${address("h1")}:2377`,
  );
  await lab.docker("h1", "service", "create", "-d", "--name=web", "-p=8080:80", IMAGE);
  await lab.docker("h1", "secret", "create", "key", import.meta.filename);
  await lab.docker("h1", "run", "-d", "--name=taken", IMAGE);
  await lab.docker("h1", "network", "create", "net");
});

afterAll(() => lab.down());

function address(host: string): string {
  return lab.address(host);
}

async function token(role: "worker" | "manager"): Promise<string> {
  return await lab.docker("h1", "swarm", "join-token", "-q", role);
}

const TASK = "com.docker.swarm.task.id";

interface Container {
  readonly Id: string;
  readonly State: string;
  readonly Labels: Readonly<Record<string, string>>;
}

function containersOf(host: string): Promise<readonly Container[]> {
  return lab.get<readonly Container[]>(host, "/containers/json?all=true");
}

/** All that bad input could have changed, without what changes by itself. */
async function everything(): Promise<string> {
  const parts: unknown[] = [];
  for (const path of ["/services", "/secrets", "/configs", "/nodes", "/networks", "/volumes"]) {
    const answer = await lab.get<readonly object[] | { Volumes: readonly object[] }>("h1", path);
    const items = "Volumes" in answer ? answer.Volumes : answer;
    parts.push(
      items.map((item) => {
        const { ID, Id, Name, Spec } = item as Record<string, unknown>;
        return [ID ?? Id ?? Name, Spec];
      }),
    );
  }
  for (const host of ["h1", "h3"]) {
    const containers = await containersOf(host);
    // Those of ended tasks go by themselves.
    const lasting = containers.filter(({ State, Labels }) => State === "running" || !Labels[TASK]);
    parts.push(lasting.map(({ Id }) => Id).toSorted());
  }
  return JSON.stringify(parts, undefined, 1);
}

/** Runs what must be refused, and compares the world before and after. */
async function changesNothing(action: () => Promise<void>): Promise<void> {
  await until("the service runs, and no task of another", async () => {
    const all = (await Promise.all([containersOf("h1"), containersOf("h2")])).flat();
    const running = all.filter(({ State, Labels }) => State === "running" && Labels[TASK]);
    return (await lab.running("h1", "web")).length === 1 && running.length === 1;
  });
  const before = await everything();
  await action();
  expect(await everything()).toBe(before);
}

describe.each(DOCKERS)("%s", (docker) => {
  test.each<[string, readonly string[], string]>([
    ["unknown image", ["create", "--pull=never", "nosuch:1"], "No such image: nosuch:1"],
    [
      "bad constraint",
      ["service", "create", "-d", "--constraint=node.role", IMAGE],
      "rpc error: code = InvalidArgument desc = constraint expected one operator from ==, !=",
    ],
    [
      "service name taken",
      ["service", "create", "-d", "--name=web", IMAGE],
      "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service web already exists",
    ],
    [
      "secret name taken",
      ["secret", "create", "key", import.meta.filename],
      "rpc error: code = AlreadyExists desc = secret key already exists",
    ],
    ["network name taken", ["network", "create", "net"], "network with name net already exists"],
    [
      "container name taken",
      ["create", "--name=taken", IMAGE],
      'Conflict. The container name "/taken" is already in use by container',
    ],
    [
      "published port taken",
      ["service", "create", "-d", "--name=other", "-p=8080:80", IMAGE],
      "rpc error: code = InvalidArgument desc = port '8080' is already in use by service 'web' (",
    ],
    [
      "bad service name",
      ["service", "create", "-d", "--name=a.b", IMAGE],
      "rpc error: code = InvalidArgument desc = name must be valid as a DNS name component",
    ],
    [
      "too little memory",
      ["service", "create", "-d", "--limit-memory=1m", IMAGE],
      "rpc error: code = InvalidArgument desc = invalid memory value 1048576: Must be at least 4MiB",
    ],
    ["unknown service", ["service", "inspect", "nosuch"], "no such service: nosuch"],
    ["unknown node", ["node", "update", "--availability=drain", "nosuch"], "nosuch"],
    [
      "the last manager but one",
      ["node", "rm", "h2"],
      "is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal",
    ],
    [
      "a manager that leaves",
      ["swarm", "leave"],
      "You are attempting to leave the swarm on a node that is participating as a manager.",
    ],
    ["init twice", ["swarm", "init"], "This node is already part of a swarm."],
  ])("%s: %j", (_what, args, message) =>
    changesNothing(async () => {
      const { code, stderr } = await lab.run("h1", docker, args);
      expect(code, stderr).not.toBe(0);
      expect(stderr).toContain(message);
    }),
  );
});

test.each<[string, string, string, number, RegExp]>([
  ["/services/create", "{", "malformed JSON", 400, /unexpected end|unexpected EOF|invalid/i],
  ["/services/create", '{"Name":7}', "a number for a name", 400, /cannot unmarshal number/],
  ["/services/create", "[]", "a list for a spec", 400, /cannot unmarshal array/],
  ["/services/create", "", "nothing", 400, /./],
  ["/swarm/init", "{", "malformed JSON", 400, /./],
  ["/containers/create", "{", "malformed JSON", 400, /./],
  ["/services/web/update", "{}", "no version", 400, /version/],
  ["/services/web/update?version=1", '{"Name":"web"}', "an old version", 400, /./],
  ["/nodes/self/update?version=1", '{"Role":"king"}', "a role that is none", 400, /./],
])("%s with %j (%s)", (path, body, _what, status, message) =>
  changesNothing(async () => {
    const answer = await lab.http("h2", "POST", path, body);
    expect(answer).toMatchObject({ status, text: expect.stringMatching(message) });
    expect(JSON.parse(answer.text)).toEqual({ message: expect.any(String) });
  }),
);

test("an oversized body", () =>
  changesNothing(async () => {
    const body = `{"Name":"${"x".repeat(17 * 1024 * 1024)}"}`;
    const answer = await lab.http("h2", "POST", "/services/create", body).catch(() => undefined);
    // The answer comes while the body is still on its way: its sender may see only the cut.
    if (answer !== undefined) expect(answer.status).toBe(400);
  }));

describe("what is used up is said on service and task, and who waits goes on", () => {
  interface Shown {
    readonly Spec: { readonly Name: string };
    readonly AllocationError?: string;
  }

  async function lacks(service: string): Promise<string> {
    const services = await lab.get<readonly Shown[]>("h1", "/services");
    return services.find(({ Spec }) => Spec.Name === service)?.AllocationError ?? "";
  }

  const errors = (service: string) =>
    lab.docker("h1", "service", "ps", "--no-trunc", "--format={{.Error}}", service);

  test("addresses of a network", async () => {
    await lab.docker("h1", "network", "create", "-d=overlay", "--subnet=10.177.0.0/29", "small");
    const many = ["--name=many", "--replicas=8", "--network=small", "--stop-grace-period=0s"];
    await lab.docker("h1", "service", "create", "-d", ...many, IMAGE);
    await until("a task says that there is no address", async () =>
      (await errors("many")).includes("could not find an available IP in network small"),
    );
    await lab.docker("h1", "service", "create", "-d", "--name=late", "--network=small", IMAGE);
    const why = "no address is free for a virtual IP in network small";
    await until("the service says so", async () => (await lacks("late")) === why);
    expect(await errors("late")).toContain(why);
    await lab.docker("h1", "service", "rm", "many");
    await until("it runs", async () => (await lab.running("h1", "late")).length === 1);
    expect(await lacks("late")).toBe("");
    await lab.docker("h1", "service", "rm", "late");
  });

  test("ports that nobody chose", async () => {
    const names = ["ports1", "ports2", "ports3"];
    for (const name of names) {
      await lab.docker("h1", "service", "create", "-d", `--name=${name}`, "-p=1-1000", IMAGE);
    }
    const why = "no published port is free";
    await until("the last service says so", async () => (await lacks("ports3")) === why);
    expect(await errors("ports3")).toContain(why);
    await lab.docker("h1", "service", "rm", "ports1");
    await until("it runs", async () => (await lab.running("h1", "ports3")).length === 1);
    await lab.docker("h1", "service", "rm", "ports2", "ports3");
  });
});

test("an unknown image in a service: its task is rejected, and says why", async () => {
  await lab.docker(
    "h2",
    "service",
    "create",
    "-d",
    "--name=lost",
    "--restart-condition=none",
    "nosuch:1",
  );
  const rejected = await until("a rejected task", async () =>
    (await lab.tasks("h2", "lost")).find(({ Status }) => Status.State === "rejected"),
  );
  expect(rejected.Status.Err).toContain("No such image: nosuch:1");
  await lab.docker("h2", "service", "rm", "lost");
});

describe("at the door", () => {
  async function knock(secret: string): Promise<string> {
    const [docker = ""] = DOCKERS;
    const args = ["swarm", "join", "--token", secret, `${address("h1")}:2377`];
    const { code, stderr } = await lab.run("h3", docker, args);
    expect(code).not.toBe(0);
    await lab.run("h3", docker, ["swarm", "leave", "--force"]);
    return stderr;
  }

  test("a token that is none", () =>
    changesNothing(async () => {
      expect(await knock("SWMTKN-1-nonsense")).toContain("invalid join token");
    }));

  test("a token with the wrong secret", () =>
    changesNothing(async () => {
      const right = await token("worker");
      const wrong = right.replace(/.$/, (last) => (last === "0" ? "1" : "0"));
      expect(await knock(wrong)).toContain("A valid join token is necessary to join this cluster");
    }));

  test("a token of another cluster", () =>
    changesNothing(async () => {
      const [prefix, version, , secret] = (await token("worker")).split("-");
      const other = [prefix, version, "0".repeat(50), secret].join("-");
      expect(await knock(other)).toContain("remote CA does not match fingerprint");
    }));

  test("a token that was rotated away", () =>
    changesNothing(async () => {
      const old = await token("worker");
      await lab.docker("h2", "swarm", "join-token", "--rotate", "-q", "worker");
      expect(await knock(old)).toContain("A valid join token is necessary to join this cluster");
    }));

  test("a node with a certificate of another cluster", () =>
    changesNothing(async () => {
      await lab.docker("h3", "swarm", "init");
      expect(await callControl(credentialsOf("h3"))).not.toBe("ok");
      // The same call, with a certificate of the cluster, is understood.
      expect(await callControl(credentialsOf("h2"))).toBe("ok");
      await lab.docker("h3", "swarm", "leave", "--force");
    }));
});

interface Credentials {
  readonly cert: Buffer;
  readonly key: string;
}

/** A node's certificate and key, from its disk. */
function credentialsOf(host: string): Credentials {
  const folder = `${lab.dataRoot(host)}/swarm/certificates`;
  return {
    cert: readFileSync(`${folder}/swarm-node.crt`),
    // Headers that say how the key is encrypted, if it is, are SwarmKit's own.
    key: readFileSync(`${folder}/swarm-node.key`, "utf8").replace(/^[\w-]+: .*\n+/gm, ""),
  };
}

/** Control.ListNodes over the control port: "ok", or why not. */
function callControl(credentials: Credentials): Promise<string> {
  return new Promise((resolve) => {
    const session = connect(`https://${address("h1")}:2377`, {
      ...credentials,
      rejectUnauthorized: false,
    });
    const finish = (outcome: string) => {
      session.destroy();
      resolve(outcome);
    };
    session.on("error", (error) => finish(error.message));
    session.on("close", () => finish("closed"));
    const stream = session.request({
      ":method": "POST",
      ":path": "/docker.swarmkit.v1.Control/ListNodes",
      "content-type": "application/grpc",
      te: "trailers",
    });
    const read = (headers: IncomingHttpHeaders) => {
      const status = headers["grpc-status"];
      if (status === undefined) return;
      finish(status === "0" ? "ok" : `status ${status.toString()}`);
    };
    stream.on("response", read);
    stream.on("trailers", read);
    stream.on("error", (error) => finish(error.message));
    stream.resume();
    // An empty message: no compression, no bytes.
    stream.end(Buffer.alloc(5));
  });
}
