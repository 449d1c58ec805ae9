/**
 * Stacks on three managers: files as projects write them, by both docker command lines and ours; what
 * waits for others, over a change of leader; access to hosts, refused and granted; and the swarm's
 * events, from whichever manager is asked.
 */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { EngineEvent } from "#wire/docker/events.ts";
import { DOCKERS, IMAGE, Lab, until } from "./lab.ts";

const HOSTS = ["h1", "h2", "h3"];
const TIMEOUT_MS = 120_000;

let lab: Lab;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "skep-stacks-test-"));
  writeFileSync(join(folder, "daemon.json"), "{}");
  writeFileSync(join(folder, "key"), "hunter2");
  lab = await Lab.up({ hosts: 3, engineFlags: [`--config-file=${join(folder, "daemon.json")}`] });
  await lab.loadImage(HOSTS);
});

afterAll(async () => {
  await lab.down();
  rmSync(folder, { recursive: true, force: true });
});

function compose(text: string): string {
  const file = join(folder, "compose.yml");
  writeFileSync(file, text);
  return file;
}

async function skep(host: string, ...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await lab.skep(host, ...args);
  if (code !== 0) throw new Error(`${args.join(" ")}: ${stderr}${stdout}`);
  return stdout;
}

const deploy = (host: string, text: string, stack: string) =>
  skep(host, "stack", "deploy", "-d", "--resolve-image=never", "-c", compose(text), stack);

async function runs(service: string, count: number): Promise<void> {
  await until(`${count} tasks of ${service} run`, async () => {
    return (await lab.running("h1", service)).length === count;
  });
}

async function gone(stack: string): Promise<void> {
  await until(`nothing of ${stack} is left`, async () => {
    const filters = `label=com.docker.stack.namespace=${stack}`;
    const left = await Promise.all([
      lab.docker("h1", "service", "ls", "-q", "--filter", filters),
      lab.docker("h1", "network", "ls", "-q", "--filter", filters),
      lab.docker("h1", "secret", "ls", "-q", "--filter", filters),
    ]);
    return left.every((text) => text === "");
  });
}

describe("access to a host", () => {
  const text = (image: string) => `
services:
  fuse: { image: "${image}", devices: [/dev/fuse], stop_grace_period: 1s }
`;

  test(
    "is refused where no node allows it, and granted on the one that does",
    async () => {
      await deploy("h1", text(IMAGE), "access");
      await until("the task says what it lacks", async () => {
        const explained = await skep("h2", "service", "explain", "access_fuse");
        return explained.includes("devices") && explained.includes("h3:");
      });
      const listed = await lab.docker("h1", "service", "ps", "--no-trunc", "access_fuse");
      expect(listed).toContain("no suitable node");

      const allowed = { labels: ["skep.allow=devices"] };
      writeFileSync(join(folder, "daemon.json"), JSON.stringify(allowed));
      process.kill(Number(readFileSync(`/run/skep-lab/${lab.name}/h3/skep.pid`, "utf8")), "SIGHUP");
      await runs("access_fuse", 1);
      const [task] = await lab.running("h1", "access_fuse");
      expect(task?.NodeID).toBe((await lab.node("h1", "h3")).ID);
      const id = task?.Status.ContainerStatus?.ContainerID ?? "";
      expect(await lab.docker("h3", "exec", id, "ls", "/dev")).toMatch(/^fuse$/m);
      await skep("h2", "stack", "rm", "--detach=false", "access");
      await gone("access");
    },
    TIMEOUT_MS,
  );
});

describe("what waits for others", () => {
  const text = `
services:
  web:
    image: ${IMAGE}
    environment: { VERSION: "1" }
    depends_on:
      db: { condition: service_healthy }
      migrate: { condition: service_completed_successfully }
  db:
    image: ${IMAGE}
    healthcheck: { test: [CMD, cat, /tmp/ready], interval: 1s, start_period: 10m }
    stop_grace_period: 1s
  migrate:
    image: ${IMAGE}
    command: ["true"]
    deploy: { mode: replicated-job }
`;

  test(
    "starts when it is there, though the client is gone and the leader dies",
    async () => {
      const told = await deploy("h1", text, "order");
      expect(told).toContain("Creating service order_web");
      await until("the job is done, and the database is waited for", async () => {
        const listed = await lab.docker("h2", "service", "ps", "--no-trunc", "order_web");
        return /Pending .*"waits for order_db to be healthy"/.test(listed);
      });
      const explained = await skep("h3", "service", "explain", "order_web");
      expect(explained).toContain("waits for order_db to be healthy: 0 of 1 tasks run");

      const leader = await lab.leader("h1");
      const witness = HOSTS.find((host) => host !== leader) ?? "";
      await lab.command("stop-engine", leader);
      await until("another leads", async () => (await lab.leader(witness)) !== leader);
      await lab.command("start", leader);
      await until("all are back", async () =>
        (await lab.nodes(witness)).every(({ Status }) => Status.State === "ready"),
      );
      expect(await lab.running(witness, "order_web")).toEqual([]);
      await until("the database is healthy", async () => {
        const [task] = (await lab.tasks(witness, "order_db")).filter(
          ({ DesiredState, Status }) => DesiredState === "running" && Status.State === "starting",
        );
        const nodes = await lab.nodes(witness);
        const host = nodes.find(({ ID }) => ID === task?.NodeID)?.Description.Hostname;
        const id = task?.Status.ContainerStatus?.ContainerID;
        if (host !== undefined && id !== undefined) {
          await lab.docker(host, "exec", id, "sh", "-c", "echo > /tmp/ready");
        }
        return (await lab.running(witness, "order_db")).length === 1;
      });
      await runs("order_web", 1);
      await lab.docker("h1", "stack", "rm", "order");
      await gone("order");
    },
    TIMEOUT_MS,
  );
});

/** As projects write them: a blog, and a site with a queue; their images are the one that is here. */
const PROJECTS = {
  blog: `
version: "3.8"
x-logging: &logging
  driver: json-file
  options: { max-size: 1m }
services:
  db:
    image: ${IMAGE}
    container_name: blog-db
    restart: always
    logging: *logging
    environment:
      MYSQL_ROOT_PASSWORD_FILE: /run/secrets/key
    secrets: [key]
    volumes: [db_data:/var/lib/mysql]
    networks: [backend]
  wordpress:
    image: ${IMAGE}
    depends_on: [db]
    restart: unless-stopped
    logging: *logging
    links: ["db:mysql"]
    environment: ["WORDPRESS_DB_HOST=mysql:80"]
    networks: [backend, frontend]
networks: { frontend: , backend: }
secrets: { key: { file: ./key } }
volumes: { db_data: {} }
`,
};

describe.each(DOCKERS)("%s stack", (docker) => {
  const run = async (host: string, ...args: readonly string[]) => {
    const { code, stdout, stderr } = await lab.run(host, docker, ["stack", ...args]);
    if (code !== 0) throw new Error(`${args.join(" ")}: ${stderr}${stdout}`);
    return stdout;
  };

  test(
    "deploy, ls, services, ps, rm",
    async () => {
      const file = compose(PROJECTS.blog);
      const told = await run("h2", "deploy", "--resolve-image=never", "-c", file, "blog");
      expect(told).toMatch(/^Creating network blog_/m);
      expect(told).toMatch(/^Creating secret blog_key$/m);
      expect(told).toMatch(/^Creating service blog_wordpress$/m);
      await runs("blog_wordpress", 1);
      await runs("blog_db", 1);
      expect(await run("h3", "ls")).toMatch(/^blog +2/m);
      const services = await run("h1", "services", "--format={{.Name}} {{.Replicas}}", "blog");
      expect(services.trim().split("\n").toSorted()).toEqual(["blog_db 1/1", "blog_wordpress 1/1"]);
      const tasks = await run("h1", "ps", "--format={{.Name}} {{.CurrentState}}", "blog");
      expect(tasks).toMatch(/^blog_db\.1 Running/m);
      const again = await run("h1", "deploy", "--resolve-image=never", "-c", file, "blog");
      expect(again).toMatch(/^Updating service blog_db \(id: /m);
      const removed = await run("h1", "rm", "blog");
      expect(removed).toMatch(/^Removing service blog_db$/m);
      await gone("blog");
    },
    TIMEOUT_MS,
  );
});

test(
  "a project's file without a version: other names, limits, a bridge, variables",
  async () => {
    const told = await lab.skep(
      "h1",
      "stack",
      "deploy",
      "-d",
      "--resolve-image=never",
      "-c",
      compose(`
name: site
x-app: &app
  image: \${APP_IMAGE:-${IMAGE}}
  mem_limit: 64m
  cpus: 0.5
  links: ["db:postgres"]
  networks: [inside]
  configs: [{ source: settings, target: /settings.py }]
services:
  db: { image: "${IMAGE}", domainname: example.org, hostname: db, networks: [inside] }
  app: { <<: *app, scale: 2, depends_on: [db] }
  worker: { <<: *app, profiles: [queue], pids_limit: 100 }
networks: { inside: { driver: bridge } }
configs: { settings: { content: "DEBUG = False" } }
`),
      "site",
    );
    expect([told.code, told.stdout]).toEqual([0, expect.stringContaining("site_app")]);
    expect(told.stderr).toContain("network inside: a bridge is of one host");
    await runs("site_app", 2);
    const [task] = await lab.running("h1", "site_app");
    const node = (await lab.nodes("h1")).find(({ ID }) => ID === task?.NodeID);
    const host = node?.Description.Hostname ?? "";
    const id = task?.Status.ContainerStatus?.ContainerID ?? "";
    expect(await lab.docker(host, "exec", id, "cat", "/settings.py")).toBe("DEBUG = False");
    const page = await until("the database answers under its other name", () =>
      lab.docker(host, "exec", id, "wget", "-qO-", "http://postgres/cgi-bin/index.cgi"),
    );
    expect(page).toContain("hostname db");
    const limits = await lab.docker(
      host,
      "inspect",
      "-f",
      "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}",
      id,
    );
    expect(limits).toBe(`${64 << 20} 500000000`);
    await skep("h3", "stack", "rm", "--detach=false", "site");
    await gone("site");
  },
  TIMEOUT_MS,
);

describe("events of the swarm", () => {
  const shown = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}";
  let since: number;

  /** Lines of what was between two times, as a command line shows them. */
  const past = async (host: string, docker: string, ...filters: readonly string[]) => {
    const args = ["events", `--since=${since}`, `--until=${Date.now() / 1000}`];
    const words = filters.map((filter) => `--filter=${filter}`);
    const { stdout } = await lab.run(host, docker, [...args, ...words, `--format=${shown}`]);
    return stdout.trim().split("\n");
  };

  /** The first events after a version that `wanted` is true of. */
  const after = (
    host: string,
    from: number,
    wanted: (event: EngineEvent) => boolean,
    count: number,
  ) =>
    new Promise<readonly EngineEvent[]>((resolve, reject) => {
      const found: EngineEvent[] = [];
      const path = `/events?version=${from}`;
      const sent = request({ socketPath: lab.socket(host), path }, (response) => {
        let text = "";
        response.on("data", (chunk) => {
          text += String(chunk);
          const lines = text.split("\n");
          text = lines.pop() ?? "";
          found.push(...lines.map((line) => JSON.parse(line) as EngineEvent).filter(wanted));
          if (found.length < count) return;
          sent.destroy();
          resolve(found.slice(0, count));
        });
        response.on("end", () => reject(new Error(`only ${JSON.stringify(found)}`)));
      });
      sent.on("error", reject);
      sent.setTimeout(60_000, () => sent.destroy(new Error(`only ${JSON.stringify(found)}`)));
      sent.end();
    });

  test(
    "are those of all managers on each of them, by both command lines",
    async () => {
      since = Date.now() / 1000 - 0.001;
      await lab.docker("h1", "config", "create", "-l", "of=test", "conf", join(folder, "key"));
      await lab.docker("h2", "secret", "create", "-l", "of=test", "sec", join(folder, "key"));
      await lab.docker("h3", "network", "create", "-d", "overlay", "--label", "of=test", "net");
      await lab.docker("h1", "service", "create", "-d", "--name=svc", "--replicas=0", IMAGE);
      await lab.docker("h2", "service", "rm", "svc");
      await lab.docker("h3", "secret", "rm", "sec");
      const expected = [
        "config create conf",
        "secret create sec",
        "network create net",
        "service create svc",
        "service remove svc",
        "secret remove sec",
      ];
      const kinds = ["type=config", "type=secret", "type=network", "type=service"];
      for (const host of HOSTS) {
        for (const docker of DOCKERS) {
          await until(`${host} tells all to ${docker}`, async () => {
            const told = await past(host, docker, "scope=swarm", ...kinds);
            const own = told.filter((line) => !/^\w+ update /.test(line));
            if (JSON.stringify(own) !== JSON.stringify(expected)) throw new Error(told.join());
            return true;
          });
        }
      }
      const told = async (...filters: readonly string[]) => {
        const all = await Promise.all(DOCKERS.map((docker) => past("h2", docker, ...filters)));
        expect(new Set(all.map((lines) => lines.join())).size).toBe(1);
        return all[0]?.filter((line) => !/^\w+ update /.test(line));
      };
      expect(await told("config=conf")).toEqual(["config create conf"]);
      expect(await told("secret=sec")).toEqual(["secret create sec", "secret remove sec"]);
      expect(await told("network=net")).toEqual(["network create net"]);
      expect(await told("service=svc")).toEqual(["service create svc", "service remove svc"]);
      expect(await told("event=remove", "type=secret")).toEqual(["secret remove sec"]);
      expect(await told("type=config", "event=update")).toEqual([""]);
    },
    TIMEOUT_MS,
  );

  test(
    "go on after a version on another manager, over a change of leader",
    async () => {
      const isOurs = ({ Type, Actor }: EngineEvent) =>
        Type === "config" && /^(conf|later)/.test(Actor.Attributes["name"] ?? "");
      const first = await lab.get<readonly { readonly Version: { readonly Index: number } }[]>(
        "h1",
        `/configs?filters=${encodeURIComponent(JSON.stringify({ name: ["conf"] }))}`,
      );
      const version = first[0]?.Version.Index ?? 0;
      expect(version).toBeGreaterThan(0);
      const leader = await lab.leader("h1");
      const [one = "", two = ""] = HOSTS.filter((host) => host !== leader);
      await lab.docker(one, "config", "create", "later1", join(folder, "key"));
      await lab.command("stop-engine", leader);
      await until("another leads, and a change is taken", async () => {
        const { code } = await lab.run(one, "docker", [
          "config",
          "create",
          "later2",
          join(folder, "key"),
        ]);
        return code === 0 || (await lab.docker(one, "config", "ls")).includes("later2");
      });
      const waiting = after(two, version, isOurs, 3);
      await lab.docker(two, "config", "create", "later3", join(folder, "key"));
      const told = await waiting;
      expect(told.map(({ Action, Actor }) => `${Action} ${Actor.Attributes["name"]}`)).toEqual([
        "create later1",
        "create later2",
        "create later3",
      ]);
      const versions = told.map((event) => event.version ?? 0);
      expect(versions).toEqual(versions.toSorted((a, b) => a - b));
      const middle = await after(one, versions[0] ?? 0, isOurs, 2);
      expect(middle.map((event) => event.version)).toEqual(versions.slice(1));
      await lab.command("start", leader);
    },
    TIMEOUT_MS,
  );
});
