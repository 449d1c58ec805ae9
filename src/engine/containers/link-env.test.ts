import { expect, test } from "vitest";
import { linkEnv } from "./link-env.ts";

test("address, ports, and environment of a linked container, under its alias", () => {
  const ports = ["5432/tcp", "53/udp"];
  const env = ["PW=a=b", "PATH=/bin", "HOME=/", "UNSET"];
  const link = { alias: "my-db", parent: "web", address: "172.17.0.2", ports, env };
  expect(linkEnv(link)).toEqual([
    "MY_DB_PORT=udp://172.17.0.2:53",
    "MY_DB_PORT_53_UDP=udp://172.17.0.2:53",
    "MY_DB_PORT_53_UDP_ADDR=172.17.0.2",
    "MY_DB_PORT_53_UDP_PORT=53",
    "MY_DB_PORT_53_UDP_PROTO=udp",
    "MY_DB_PORT_5432_TCP=tcp://172.17.0.2:5432",
    "MY_DB_PORT_5432_TCP_ADDR=172.17.0.2",
    "MY_DB_PORT_5432_TCP_PORT=5432",
    "MY_DB_PORT_5432_TCP_PROTO=tcp",
    "MY_DB_NAME=/web/my-db",
    "MY_DB_ENV_PW=a=b",
  ]);
});

test("ports that follow each other are told as a range, too; without any, the name is left", () => {
  const link = { alias: "a", parent: "w", address: "10.0.0.1", env: [] };
  expect(linkEnv({ ...link, ports: ["81/tcp", "80/tcp", "82/tcp"] })).toEqual(
    expect.arrayContaining([
      "A_PORT=tcp://10.0.0.1:80",
      "A_PORT_80_TCP_START=tcp://10.0.0.1:80",
      "A_PORT_80_TCP_PORT_START=80",
      "A_PORT_80_TCP_END=tcp://10.0.0.1:82",
      "A_PORT_80_TCP_PORT_END=82",
    ]),
  );
  expect(linkEnv({ ...link, ports: [] })).toEqual(["A_NAME=/w/a"]);
});
