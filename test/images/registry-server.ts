/** Debian's docker-registry on a free port, with no, basic or token authorization. */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createSign, randomBytes } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { join } from "node:path";

export interface TestRegistry {
  /** "127.0.0.1:PORT". */
  readonly host: string;
  stop(): Promise<void>;
}

export type RegistryAuth =
  | { readonly kind: "none" }
  | { readonly kind: "basic"; readonly user: string; readonly password: string }
  | { readonly kind: "token"; readonly tokens: TokenServer };

/** `listen` is the address that it is reached at, an own one of this machine. */
export async function startRegistry(
  folder: string,
  auth: RegistryAuth,
  listen = "127.0.0.1",
): Promise<TestRegistry> {
  await mkdir(folder, { recursive: true });
  const port = await freePort();
  const config = join(folder, "config.yml");
  await writeFile(config, await renderConfig(folder, `${listen}:${port}`, auth));
  const child = spawn("docker-registry", ["serve", config], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const errors: string[] = [];
  child.stderr.on("data", (chunk: Buffer) => errors.push(chunk.toString()));
  const host = `${listen}:${port}`;
  await untilAnswers(`http://${host}/v2/`, child, errors);
  return { host, stop: () => end(child) };
}

function end(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    child.once("exit", () => resolve());
    child.kill("SIGTERM");
  });
}

/** The configuration of a registry whose files are below `folder`. */
export async function renderConfig(
  folder: string,
  address: string,
  auth: RegistryAuth,
): Promise<string> {
  const lines = [
    "version: 0.1",
    "log: { level: error }",
    `storage: { filesystem: { rootdirectory: ${join(folder, "data")} }, delete: { enabled: true } }`,
    `http: { addr: "${address}" }`,
  ];
  if (auth.kind === "basic") {
    const script = 'print crypt($ARGV[0], "\\$2y\\$05\\$abcdefghijklmnopqrstuu")';
    const hash = execFileSync("perl", ["-e", script, auth.password], { encoding: "utf8" });
    const file = join(folder, "htpasswd");
    await writeFile(file, `${auth.user}:${hash}\n`);
    lines.push(`auth: { htpasswd: { realm: test, path: ${file} } }`);
  }
  if (auth.kind === "token") {
    const { realm, certFile } = auth.tokens;
    lines.push(
      `auth: { token: { realm: "${realm}", service: test-registry, issuer: test-issuer, rootcertbundle: ${certFile} } }`,
    );
  }
  return `${lines.join("\n")}\n`;
}

async function untilAnswers(url: string, child: ChildProcess, errors: string[]): Promise<void> {
  for (;;) {
    if (child.exitCode !== null) throw new Error(`docker-registry ended: ${errors.join("")}`);
    const answered = await fetch(url).then(
      () => true,
      () => false,
    );
    if (answered) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createTcpServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

export interface TokenServer {
  readonly realm: string;
  readonly certFile: string;
  /** Query strings of the requests so far. */
  readonly asked: URLSearchParams[];
  stop(): Promise<void>;
}

/** Grants pulls to everybody, and pushes to the one who knows the password. */
export async function startTokenServer(
  folder: string,
  user: string,
  password: string,
): Promise<TokenServer> {
  await mkdir(folder, { recursive: true });
  const [keyFile, certFile] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  execFileSync(
    "openssl",
    ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"].concat([
      "-keyout",
      keyFile,
      "-out",
      certFile,
    ]),
    { stdio: "ignore" },
  );
  const [key, cert] = [await readFile(keyFile, "utf8"), await readFile(certFile, "utf8")];
  const expected = `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
  const asked: URLSearchParams[] = [];
  const server: Server = createServer((request, response) => {
    const query = new URL(request.url ?? "/", "http://x").searchParams;
    asked.push(query);
    const { authorization } = request.headers;
    if (authorization !== undefined && authorization !== expected) {
      response.writeHead(401, { "Content-Type": "application/json" }).end("{}");
      return;
    }
    const access = query.getAll("scope").map((scope) => {
      const [type = "", name = "", actions = ""] = scope.split(":");
      const granted = actions.split(",").filter((action) => action === "pull" || authorization);
      return { type, name, actions: granted };
    });
    response.writeHead(200, { "Content-Type": "application/json" });
    response.end(JSON.stringify({ token: signToken(key, cert, access), expires_in: 300 }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    realm: `http://127.0.0.1:${port}/token`,
    certFile,
    asked,
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

function signToken(key: string, cert: string, access: unknown): string {
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const der = cert.replace(/-----[^-]+-----|\s/g, "");
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    iss: "test-issuer",
    sub: "test",
    aud: "test-registry",
    exp: now + 300,
    nbf: now - 10,
    iat: now - 10,
    jti: randomBytes(8).toString("hex"),
    access,
  };
  const body = `${encode({ typ: "JWT", alg: "RS256", x5c: [der] })}.${encode(claims)}`;
  return `${body}.${createSign("RSA-SHA256").update(body).sign(key, "base64url")}`;
}
