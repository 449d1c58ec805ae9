/**
 * Everybody reaches everything: five hosts; every container asks every service by name, by virtual
 * address and by its tasks' names; every host's published ports answer from outside and from the hosts,
 * for tasks of the host and of others; and who answers sees the asker's own address. TCP and UDP (SCTP
 * where the kernel has it), IPv4 and IPv6.
 */

import { execFile, execFileSync } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ServiceSpec } from "#wire/docker/services.ts";
import { Lab, type Task, until } from "./lab.ts";
import { PROBE, probeService } from "./traffic.ts";

const HOSTS = ["h1", "h2", "h3", "h4", "h5"];
const PROGRAM = join(import.meta.dirname, "probe-image/probe.pl");
const FAMILIES = [4, 6] as const;
const NETWORK = "net";
/** Published ports by protocol. */
const PORTS = { tcp: 8080, udp: 8081, sctp: 8082 } as const;
/** Questions for each answer that has to come, and how often they are put. */
const TURNS = 3;
const ROUNDS = 10;
const HAS_SCTP =
  execFileSync("perl", ["-e", "print socket(my $s, 2, 1, 132) ? 1 : 0"]).toString() === "1";

type Protocol = keyof typeof PORTS;
const PROTOCOLS: readonly Protocol[] = HAS_SCTP ? ["tcp", "udp", "sctp"] : ["tcp", "udp"];

let lab: Lab;

beforeAll(async () => {
  lab = await Lab.up({ hosts: HOSTS.length, managers: 3 });
  await giveV6();
  const created = [
    await lab.http("h1", "DELETE", "/networks/ingress"),
    await createNetwork({ Name: "ingress6", Ingress: true }),
    await createNetwork({ Name: NETWORK, Attachable: true }),
  ];
  expect(created.map(({ status }) => status)).toEqual([204, 201, 201]);
  await lab.loadImage(HOSTS, PROBE);
  const services = [
    published("few", { Replicated: { Replicas: 2 } }),
    service("each", { Global: {} }),
  ];
  for (const spec of services) {
    expect(await lab.http("h1", "POST", "/services/create", spec)).toMatchObject({ status: 201 });
  }
  await Promise.all([running("few", 2), running("each", HOSTS.length)]);
  await Promise.all(HOSTS.map(knowsOthers));
});

afterAll(() => lab.down());

const v6Of = (address: string) => `fd99::${address.split(".").slice(2).join(":")}`;

/** An address of IPv6 for each host, and for this machine on their bridge: the lab gives none. */
async function giveV6(): Promise<void> {
  for (const host of HOSTS) {
    const words = ["ip", "addr", "add", `${v6Of(lab.address(host))}/96`, "dev", "eth0", "nodad"];
    await lab.command("exec", host, "--", ...words);
  }
  const own = outside(4);
  const device = execFileSync("ip", ["-j", "addr", "show", "to", own], { encoding: "utf8" });
  const [{ ifname }] = JSON.parse(device) as [{ ifname: string }];
  execFileSync("ip", ["addr", "add", `${v6Of(own)}/96`, "dev", ifname, "nodad"]);
}

/** Nodes tell of an address that came later within half a minute. */
async function knowsOthers(host: string): Promise<void> {
  const words = ["nft", "list", "set", "inet", "skep_overlay", "returning6"];
  await until(`${host} knows the addresses of the others`, async () => {
    const listed = await lab.command("exec", host, "--", ...words);
    const others = HOSTS.filter((other) => other !== host);
    return others.every((other) => listed.includes(addressOf(other, 6)));
  });
}

/** This machine's own address among the hosts. */
function outside(family: 4 | 6): string {
  const v4 = lab.address("h1").replace(/\d+$/, "254");
  return family === 4 ? v4 : v6Of(v4);
}

function addressOf(host: string, family: 4 | 6): string {
  const v4 = lab.address(host);
  return family === 4 ? v4 : v6Of(v4);
}

function createNetwork(more: Readonly<Record<string, unknown>>) {
  const body = { Driver: "overlay", EnableIPv6: true, CheckDuplicate: true, ...more };
  return lab.http("h1", "POST", "/networks/create", body);
}

function service(name: string, Mode: ServiceSpec["Mode"]): ServiceSpec {
  const { EndpointSpec: _, ...spec } = probeService(name, 0, 0);
  const { TaskTemplate } = spec;
  return {
    ...spec,
    Mode,
    TaskTemplate: {
      ...TaskTemplate,
      Networks: [{ Target: NETWORK }],
      ContainerSpec: {
        ...TaskTemplate.ContainerSpec,
        Image: PROBE.name,
        Hostname: "{{.Service.Name}}.{{.Task.Slot}}.{{.Node.Hostname}}",
      },
    },
  };
}

function published(name: string, Mode: ServiceSpec["Mode"]): ServiceSpec {
  const Ports = PROTOCOLS.map((protocol) => ({
    Protocol: protocol,
    TargetPort: 80,
    PublishedPort: PORTS[protocol],
    PublishMode: "ingress" as const,
  }));
  return { ...service(name, Mode), EndpointSpec: { Mode: "vip", Ports } };
}

function running(name: string, count: number): Promise<readonly Task[]> {
  return until(`${count} tasks of ${name} run`, async () => {
    const tasks = await lab.running("h1", name);
    return tasks.length === count && tasks;
  });
}

/** Answers by target, each "NAME ADDRESS" or what went wrong. */
type Answers = ReadonlyMap<string, readonly string[]>;

function readAnswers(text: string): Answers {
  const lines = text.trim().split("\n");
  return new Map(
    lines.map((line) => {
      const [target = "", answers = ""] = line.split("\t");
      return [target, answers.split(",")];
    }),
  );
}

interface Expected {
  readonly target: string;
  /** What has to be answered at least once, and nothing else: "NAME ADDRESS". */
  readonly answers: readonly string[];
}

/**
 * Asks, and asks again where not everybody has answered: clients share the turns of a balance, and two
 * in step may see one task each.
 */
async function ask(
  expected: readonly Expected[],
  answersOf: (targets: readonly string[]) => Promise<string>,
): Promise<Answers> {
  const all = new Map<string, readonly string[]>();
  let open = expected;
  for (let round = 0; round < ROUNDS && open.length > 0; round++) {
    const answers = readAnswers(await answersOf(open.map(({ target }) => target)));
    for (const [target, more] of answers) all.set(target, [...(all.get(target) ?? []), ...more]);
    open = open.filter(({ target, answers }) => {
      const seen = all.get(target) ?? [];
      return (
        answers.some((one) => !seen.includes(one)) && seen.every((one) => answers.includes(one))
      );
    });
  }
  return all;
}

function judge(who: string, answers: Answers, expected: readonly Expected[]): void {
  const show = (list: readonly string[]) => [...new Set(list)].toSorted();
  const found = expected.map(({ target }) => [target, show(answers.get(target) ?? [])]);
  const wanted = expected.map((one) => [one.target, show(one.answers)]);
  expect({ who, found }).toEqual({ who, found: wanted });
}

interface Member {
  readonly host: string;
  readonly container: string;
  /** On the network; IPv4 and IPv6. */
  readonly addresses: Readonly<Record<4 | 6, string>>;
  readonly name: string;
}

interface Inspected {
  readonly Id: string;
  readonly Config: { readonly Hostname: string };
  readonly NetworkSettings: {
    readonly Networks: Readonly<
      Record<string, { readonly IPAddress: string; readonly GlobalIPv6Address: string }>
    >;
  };
}

/** All containers on the network, of services and others. */
async function members(): Promise<readonly Member[]> {
  const found = await Promise.all(
    HOSTS.map(async (host) => {
      const filters = encodeURIComponent(JSON.stringify({ network: [NETWORK] }));
      const list = await lab.get<readonly { Id: string }[]>(
        host,
        `/containers/json?filters=${filters}`,
      );
      return Promise.all(
        list.map(async ({ Id }) => {
          const { Config, NetworkSettings } = await lab.get<Inspected>(
            host,
            `/containers/${Id}/json`,
          );
          const own = NetworkSettings.Networks[NETWORK];
          const addresses = { 4: own?.IPAddress ?? "", 6: own?.GlobalIPv6Address ?? "" };
          return { host, container: Id, name: Config.Hostname, addresses };
        }),
      );
    }),
  );
  return found.flat();
}

async function virtualIps(name: string): Promise<Readonly<Record<4 | 6, string>>> {
  const [network, { Endpoint }] = await Promise.all([
    lab.get<{ Id: string }>("h1", `/networks/${NETWORK}`),
    lab.service("h1", name),
  ]);
  const own = (Endpoint.VirtualIPs ?? [])
    .filter(({ NetworkID }) => NetworkID === network.Id)
    .map(({ Addr }) => Addr?.split("/")[0] ?? "");
  const of = (six: boolean) => own.find((address) => address.includes(":") === six) ?? "";
  return { 4: of(false), 6: of(true) };
}

test("every container reaches every service by every name", async () => {
  await Promise.all(
    HOSTS.map((host) =>
      lab.docker(host, "run", "-d", "--name=alone", `--network=${NETWORK}`, PROBE.name),
    ),
  );
  const all = await members();
  expect(all).toHaveLength(HOSTS.length + 2 + HOSTS.length);
  const names = ["few", "each"];
  const vips = new Map(
    await Promise.all(names.map(async (name) => [name, await virtualIps(name)] as const)),
  );
  const questions = (asker: Member): Expected[] =>
    names.flatMap((name) => {
      const tasks = all.filter((member) => member.name.startsWith(`${name}.`));
      return FAMILIES.flatMap((family) => {
        const address = asker.addresses[family];
        const times = TURNS * tasks.length;
        const answers = tasks.map((task) => `${task.name} ${address}`);
        const services = PROTOCOLS.flatMap((protocol) =>
          [name, vips.get(name)?.[family] ?? ""].map((to) => ({
            target: `${protocol}/${family}/${to}/80/${times}`,
            answers,
          })),
        );
        const direct = tasks
          .filter((task) => task.container !== asker.container)
          .map((task) => ({
            target: `tcp/${family}/${task.addresses[family]}/80/1`,
            answers: [`${task.name} ${address}`],
          }));
        return [...services, ...direct];
      });
    });
  await Promise.all(
    all.map(async (asker) => {
      const expected = questions(asker);
      const words = ["exec", asker.container, "probe", "ask"];
      const answers = await ask(expected, (targets) =>
        lab.docker(asker.host, ...words, ...targets),
      );
      judge(`${asker.name} on ${asker.host}`, answers, expected);
    }),
  );
});

/** The host's own address on the ingress network. */
async function gatewayOf(host: string, family: 4 | 6): Promise<string> {
  const { Id } = await lab.get<{ Id: string }>(host, "/networks/ingress6");
  const device = `ov-${Id.slice(0, 12)}`;
  const words = ["ip", "-j", "addr", "show", "dev", device, "scope", "global"];
  const [{ addr_info }] = JSON.parse(await lab.command("exec", host, "--", ...words)) as [
    { addr_info: { local: string; family: string }[] },
  ];
  const wanted = family === 4 ? "inet" : "inet6";
  return addr_info.find((one) => one.family === wanted)?.local ?? "";
}

test("every published port answers on every host, and the server sees the client", async () => {
  const tasks = (await members()).filter(({ name }) => name.startsWith("few."));
  const expectedOf = async (
    seenBy: (task: Member, asked: string, family: 4 | 6) => Promise<string>,
  ): Promise<Expected[]> => {
    const found: Expected[] = [];
    for (const host of HOSTS) {
      for (const family of FAMILIES) {
        const answers = await Promise.all(
          tasks.map(async (task) => `${task.name} ${await seenBy(task, host, family)}`),
        );
        for (const protocol of PROTOCOLS) {
          const times = TURNS * tasks.length;
          const at = `${addressOf(host, family)}/${PORTS[protocol]}`;
          found.push({ target: `${protocol}/${family}/${at}/${times}`, answers });
        }
      }
    }
    return found;
  };
  const fromOutside = await expectedOf(async (_, __, family) => outside(family));
  const run = promisify(execFile);
  const heardOutside = await ask(fromOutside, async (targets) => {
    return (await run(PROGRAM, ["ask", ...targets])).stdout;
  });
  judge("outside", heardOutside, fromOutside);
  await Promise.all(
    HOSTS.map(async (asker) => {
      // Led back to a task of its own, a host could not be told from itself.
      const expected = await expectedOf(async (task, asked, family) =>
        task.host === asker && asked !== asker
          ? gatewayOf(asked, family)
          : addressOf(asker, family),
      );
      const answers = await ask(expected, (targets) =>
        lab.command("exec", asker, "--", PROGRAM, "ask", ...targets),
      );
      judge(asker, answers, expected);
    }),
  );
});

test.skipIf(HAS_SCTP)("SCTP was left out: this kernel has none (CONFIG_IP_SCTP)", () => {
  expect(PROTOCOLS).not.toContain("sctp");
});
