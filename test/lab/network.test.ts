/**
 * The swarm's network as its users meet it: published ports on every host, names in containers,
 * stacks (by our command line too), and changes under load without a failed request. Both docker
 * command lines take turns.
 */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DOCKERS, IMAGE, Lab, SKEP, until } from "./lab.ts";
import { ask, startLoad } from "./requests.ts";

const HOSTS = ["h1", "h2", "h3"];
/** The lab's bridge, on which this process is: the last address of the hosts' network. */
const CLIENT = /^(?:::ffff:)?10\.99\.\d+\.254$/;

/** Without it a task takes part as soon as its process runs, which is before it listens. */
const HEALTH = ["--health-cmd=wget -qO- http://127.0.0.1/", "--health-interval=1s"];

let lab: Lab;

beforeAll(async () => {
  lab = await Lab.up({ hosts: 3, managers: 1 });
  await lab.loadImage(HOSTS);
});

afterAll(() => lab.down());

const docker = (...args: readonly string[]) => lab.docker("h1", ...args);
const addressesOf = (port: number) => HOSTS.map((host) => `${lab.address(host)}:${port}`);

async function runs(service: string, count: number): Promise<void> {
  await until(`${count} tasks of ${service} run, and no more`, async () => {
    const tasks = await lab.tasks("h1", service);
    const live = tasks.filter(({ Status }) => ["running", "starting"].includes(Status.State));
    return (await lab.running("h1", service)).length === count && live.length === count;
  });
}

describe("a published port", () => {
  test("every host leads to every task, and the task sees the client's own address", async () => {
    await docker("network", "create", "-d", "overlay", "--attachable", "back");
    const flags = ["--name=web", "--replicas=3", "-p", "8080:80", ...HEALTH];
    await docker("service", "create", "-d", ...flags, IMAGE);
    await runs("web", 3);
    for (const address of addressesOf(8080)) {
      const seen = new Set<string | undefined>();
      await until(`all tasks answer at ${address}`, async () => {
        const answer = await ask(address);
        expect(answer.get("caller")?.replace(/[[\]]/g, "")).toMatch(CLIENT);
        return seen.add(answer.get("hostname")).size === 3;
      });
    }
  });

  test("a service without tasks refuses, and answers again when it has some", async () => {
    await docker("service", "scale", "-d", "web=0");
    for (const address of addressesOf(8080)) {
      await until(`${address} refuses`, () =>
        ask(address).then(
          () => false,
          (error: unknown) => String(error).includes("ECONNREFUSED"),
        ),
      );
    }
    await docker("service", "scale", "-d", "web=3");
    await runs("web", 3);
    for (const address of addressesOf(8080)) await until(`${address} answers`, () => ask(address));
  });
});

test("names lead to services, from containers that are no tasks as well", async () => {
  const dns = ["--dns-search=corp.example", "--dns-option=timeout:7"];
  const service = ["--name=api", "--replicas=2", "--network=name=back,alias=nick", ...dns];
  await docker("service", "create", "-d", ...service, IMAGE);
  await runs("api", 2);
  const [vip = ""] = (
    await docker("service", "inspect", "api", "-f", "{{(index .Endpoint.VirtualIPs 0).Addr}}")
  ).split("/");
  for (const host of ["h2", "h3"]) {
    const names = ["api", "tasks.api", "api.1", "nick", "api.2.back"];
    const look = `for name in ${names.join(" ")}; do wget -qO- http://$name/; done; nslookup ${vip} 127.0.0.11; cat /etc/resolv.conf`;
    const answer = await lab.docker(host, "run", "--rm", "--network=back", IMAGE, "sh", "-c", look);
    expect(answer.match(/^hostname /gm)).toHaveLength(names.length);
    expect(answer).toMatch(/in-addr\.arpa\s+name = api\.back$/m);
    expect(answer).toContain("nameserver 127.0.0.11");
    // The way by the virtual address keeps the caller's own, too.
    expect(answer).not.toMatch(/^caller 10\.99\./m);
  }
  const files = await Promise.all(
    HOSTS.map(async (one) => {
      const ids = (await lab.docker(one, "ps", "-q", "--filter=name=api.")).split("\n");
      return Promise.all(
        ids.filter(Boolean).map((id) => lab.docker(one, "exec", id, "cat", "/etc/resolv.conf")),
      );
    }),
  );
  expect(files.flat()).toHaveLength(2);
  for (const file of files.flat()) {
    expect(file).toBe("nameserver 127.0.0.11\nsearch corp.example\noptions timeout:7 ndots:0");
  }
  await docker("service", "rm", "api");
});

describe("under load", () => {
  test("scaling, updates in both orders and a drained node fail no request", async () => {
    await docker("service", "scale", "-d", "web=6");
    await runs("web", 6);
    const load = startLoad(addressesOf(8080));
    for (const count of [2, 6]) {
      await docker("service", "scale", "-d", `web=${count}`);
      await runs("web", count);
    }
    for (const order of ["start-first", "stop-first"]) {
      const pace = ["--update-parallelism=2", `--update-order=${order}`];
      await docker("service", "update", "-q", "--detach=false", "--force", ...pace, "web");
      await runs("web", 6);
    }
    await docker("node", "update", "--availability=drain", "h3");
    await runs("web", 6);
    await docker("node", "update", "--availability=active", "h3");
    const { answered, failures } = await load.stop();
    expect(failures).toEqual([]);
    expect(answered).toBeGreaterThan(100);
    await docker("service", "rm", "web");
  });
});

const STACK = `
version: "3.8"
services:
  front:
    image: ${IMAGE}
    ports: ["9090:80"]
    networks: [net]
    configs: [{ source: motd, target: /etc/motd }]
    secrets: [password]
    deploy: { replicas: 2, update_config: { order: start-first } }
    healthcheck: { test: ["CMD", "wget", "-qO-", "http://127.0.0.1/"], interval: 1s, retries: 5 }
  each:
    image: ${IMAGE}
    networks: [net]
    deploy: { mode: global }
networks: { net: { driver: overlay } }
configs: { motd: { file: ./motd } }
secrets: { password: { file: ./password } }
`;

describe.each([...DOCKERS, SKEP])("a stack, by %s", (cli) => {
  const stack = async (...args: readonly string[]) => {
    const finished = await lab.run("h1", cli, ["stack", ...args]);
    expect(finished, finished.stderr).toMatchObject({ code: 0 });
    return finished.stdout;
  };

  test("is deployed, changed and removed, and nothing of it stays", async () => {
    const file = join(lab.folder, "stack.yml");
    writeFileSync(file, STACK);
    writeFileSync(join(lab.folder, "motd"), "welcome\n");
    writeFileSync(join(lab.folder, "password"), "hidden\n");
    await stack("deploy", "-c", file, "app");
    await runs("app_front", 2);
    await runs("app_each", 3);
    const [task] = await lab.running("h1", "app_front");
    const host = HOSTS[(await hostOf(task?.NodeID)) - 1] ?? "";
    const container = task?.Status.ContainerStatus?.ContainerID ?? "";
    const read = "cat /etc/motd /run/secrets/password; wget -qO- http://each/ | head -n 1";
    const said = await lab.docker(host, "exec", container, "sh", "-c", read);
    expect(said).toMatch(/^welcome\nhidden\nhostname /);
    for (const address of addressesOf(9090)) await until(`${address} answers`, () => ask(address));
    writeFileSync(file, STACK.replace("replicas: 2", "replicas: 3"));
    await stack("deploy", "-c", file, "app");
    await runs("app_front", 3);
    expect(await stack("ls", "--format", "{{.Name}} {{.Services}}")).toBe("app 2\n");
    if (cli === SKEP) {
      await stack("rollback", "app");
      await runs("app_front", 2);
      const format = ["--format", "{{.Revision}} {{.Services}} {{.Note}}"];
      expect(await stack("history", ...format, "app")).toBe("3 2 rolled back to 1\n2 2 \n1 2 \n");
    }
    await stack("rm", "app");
    await until("nothing of the stack is left", async () => {
      const label = "label=com.docker.stack.namespace=app";
      const lists = await Promise.all([
        ...["network", "secret", "config", "service"].map((noun) =>
          docker(noun, "ls", "-q", "--filter", label),
        ),
        ...HOSTS.map((each) => lab.docker(each, "ps", "-aq", "--filter", label)),
        ...HOSTS.map((each) => lab.docker(each, "network", "ls", "-q", "--filter", label)),
      ]);
      return lists.every((list) => list === "");
    });
  });
});

async function hostOf(nodeId: string | undefined): Promise<number> {
  const node = (await lab.nodes("h1")).find(({ ID }) => ID === nodeId);
  return Number(node?.Description.Hostname.slice(1));
}
