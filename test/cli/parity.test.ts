/**
 * Our command line beside docker's newer one, on one and the same engine: what lists, tells and refuses
 * prints the same, on the same stream, with the same exit code. The program's name is all that differs.
 */

import { execFile } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PLAIN_ENV } from "../../bench/lib/host.ts";
import { SKEP, SkepEngine } from "../../bench/lib/skep.ts";
import { send } from "../compatibility/call.ts";
import { imageArchive } from "../compatibility/engines.ts";
import { wordsOf } from "../compatibility/session.ts";

const DOCKER = "/usr/local/bin/docker";
const TIMEOUT_MS = 60_000;
/** What is told of the moment is told again when the moment has passed between the two. */
const TRIES = 4;
/** On a busy machine a second passes over and over; after a minute ages change by the minute. */
const AGE = / (second|minute)s? ago|Up /;
const AGES_AGREE_MS = 90_000;

const lines = (text: string) => text.split("\n").filter((line) => line.trim() !== "");

const THERE = lines(`
network create --label a=1 --subnet 10.83.0.0/24 net
volume create --label a=1 vol
create --name one --label b=2 --label a=1 -v vol:/v -v /tmp:/t -p 8080-8082:80-82 -p 127.0.0.1:9:9/udp --expose 20-22 --network net app:1 sleep 1000
tag app:1 second/name:2
swarm init --advertise-addr 127.0.0.1
config create --label a=1 conf DIR/env
secret create sec DIR/env
service create -d -q --name web --no-resolve-image --replicas 0 --label a=1 --constraint node.role==manager --log-driver json-file --log-opt max-size=1m --health-cmd true --health-interval 5s --publish 8088:80 --limit-memory 64m --reserve-cpu 0.1 --mount type=tmpfs,dst=/t --config conf --secret sec --env X=1 --user ann app:1 sleep 1000
`);

const ALL_PS =
  '{{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.CreatedAt}}\\t{{.Ports}}\\t{{.State}}\\t{{.Status}}\\t{{.Size}}\\t{{.Names}}\\t{{.Labels}}\\t{{.Label "a"}}\\t{{.Mounts}}\\t{{.LocalVolumes}}\\t{{.Networks}}';

const TOLD = lines(`
ps -a
ps -a -s
ps -a --no-trunc
ps -a --format json
ps -aq --format x
ps -a --format 'table ${ALL_PS}'
ps -a --format 'table {{upper .Names}}\\t{{truncate .ID 3}}\\t{{title .State}}\\t{{pad .Names 2 3}}|'
images
images --digests --no-trunc
images --format json
image history app:1
history --format json app:1
history --human=false --no-trunc app:1
history -q --platform linux/amd64 app:1
history --platform linux/arm64 app:1
rmi --platform linux/arm64 app:1
save --platform linux/arm64 -o DIR/x app:1
image inspect --platform linux/arm64 app:1
network ls
network ls --no-trunc --format json
network inspect net nosuch
volume ls
volume ls --format json
volume inspect vol nosuch
inspect one nosuch
inspect -f {{.Id}} nosuch
container inspect nosuch
system df
system df -v
system df --format json
stats --no-stream -a
stats --no-stream nosuch
node ls
node inspect nosuch
service ls
service ls --format json
service ps web
service ps nosuch
service inspect web
service inspect --pretty web
service inspect nosuch
service logs nosuch
service scale web=x
service scale nosuch=1
config ls --format json
config inspect --pretty conf
secret ls
secret inspect --pretty sec
stack ls
stack ps nosuch
stack services nosuch
plugin ls
plugin enable nosuch
plugin disable nosuch
plugin rm nosuch
plugin set nosuch a=b
context ls
version --format {{.Server.Version}}
info -f '{{.Swarm.LocalNodeState}} {{.ClientInfo.Context}}'
events --since 600s --until 0s --filter type=container
events --since 600s --until 0s --filter type=container --format json
container prune --nosuch
ps --filter
images a b
rename a
rename a b
start nosuch
stop -t 1 nosuch
update one
run --pull never nosuch:1
run -it app:1 sh
run --no-healthcheck --health-cmd x app:1
run app:1@bad
create --env-file nosuch app:1
tag app:1 Bad:2
pull Bad:1
load -i DIR/nosuch
save -o /nosuch/x app:1
config create other DIR/nosuch
cp one:/nosuch DIR/x
cp nosuch one:/x
port one 99
nosuch
container nosuch
`);

const engine = new SkepEngine();
const folder = join(engine.host.folder, "session");

interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function say(program: string, line: string): Promise<Said> {
  const words = wordsOf(line).map((word) =>
    word.replaceAll("DIR", folder).replaceAll("HOSTNAME", hostname()),
  );
  const env = { ...PLAIN_ENV, DOCKER_HOST: `unix://${engine.socket}`, DOCKER_CONFIG: folder };
  return new Promise((resolve) => {
    const options = { env, cwd: folder, timeout: TIMEOUT_MS };
    const child = execFile(program, words, options, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr }),
    );
    child.stdin?.end();
  });
}

/** The program's name; docker begins one and the same sentence in three ways, by accident. */
function nameless({ code, stdout, stderr }: Said): Said {
  const plain = stderr
    .replaceAll(/\bdocker\b(?=: |'? [a-z[]| --help)/g, "skep")
    .replaceAll(/^(See|SRun) (?='skep)/gm, "Run ");
  return { code, stdout, stderr: plain };
}

beforeAll(async () => {
  await engine.start();
  mkdirSync(folder);
  writeFileSync(join(folder, "env"), "FROM_FILE=1\n");
  await send(engine.socket, {
    method: "POST",
    path: "/images/load?quiet=1",
    raw: await imageArchive(),
  });
  for (const line of THERE) {
    const { code, stderr } = await say(SKEP, line);
    if (code !== 0) throw new Error(`${line}: ${stderr}`);
  }
}, 120_000);

afterAll(() => engine.host.destroy());

describe.runIf(existsSync(DOCKER))("docker's command line and ours", () => {
  test.each(TOLD)(
    "%s",
    async (line) => {
      const end = Date.now() + AGES_AGREE_MS;
      for (let tries = 1; ; tries += 1) {
        const [theirs, ours] = await Promise.all([say(DOCKER, line), say(SKEP, line)]);
        try {
          return expect(nameless(ours)).toEqual(nameless(theirs));
        } catch (error) {
          if (tries >= TRIES && (Date.now() >= end || !AGE.test(theirs.stdout))) throw error;
        }
      }
    },
    2 * AGES_AGREE_MS,
  );
});
