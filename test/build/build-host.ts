/** An engine on a host of its own, with a base image, and docker's clients against it. */

import { execFile } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { SKEP, SkepEngine } from "../../bench/lib/skep.ts";
import { send } from "../compatibility/call.ts";
import { imageArchive } from "../compatibility/engines.ts";
import { DOCKERS } from "../engine/engine-process.ts";
import { renderConfig } from "../images/registry-server.ts";

/** Loaded into the engine: busybox with a shell and some applets. */
export const BASE = "app:1";

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class BuildHost {
  readonly engine = new SkepEngine();

  static async open(): Promise<BuildHost> {
    const host = new BuildHost();
    try {
      await host.engine.start();
      const raw = await imageArchive();
      await send(host.engine.socket, { method: "POST", path: "/images/load?quiet=1", raw });
    } catch (error) {
      await host.close();
      throw error;
    }
    return host;
  }

  close(): Promise<void> {
    return this.engine.host.destroy();
  }

  get folder(): string {
    return this.engine.host.folder;
  }

  /** A folder of its own with the files. */
  context(files: Readonly<Record<string, string>>): string {
    const folder = mkdtempSync(join(this.folder, "context-"));
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), text);
    }
    return folder;
  }

  docker(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
    return this.run(DOCKERS.at(-1) ?? "docker", args, options);
  }

  skep(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
    return this.run(process.execPath, [SKEP, ...args], options);
  }

  run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
    const env = {
      ...process.env,
      DOCKER_HOST: `unix://${this.engine.socket}`,
      DOCKER_BUILDKIT: "0",
      ...options.env,
    };
    return new Promise((resolve) => {
      const settings = { env, signal: options.signal, maxBuffer: 64 * 1024 * 1024 };
      const child = execFile(program, args, settings, (error, stdout, stderr) => {
        const code = error === null ? 0 : Number(error.code ?? -1);
        resolve({ code: Number.isNaN(code) ? -1 : code, stdout, stderr });
      });
      child.stdin?.on("error", () => undefined);
      child.stdin?.end(options.input ?? "");
    });
  }

  /** A registry on the engine's own host that asks for a password. */
  async startRegistry(auth: { user: string; password: string }): Promise<string> {
    const folder = mkdtempSync(join(this.folder, "registry-"));
    const address = "127.0.0.1:5000";
    const config = join(folder, "config.yml");
    writeFileSync(config, await renderConfig(folder, address, { kind: "basic", ...auth }));
    this.engine.host.spawn(["docker-registry", "serve", config], "registry.log");
    return address;
  }

  /** Command lines of what runs on this host and matches. */
  processes(pattern: RegExp): readonly string[] {
    return this.engine.host
      .processes()
      .map((pid) => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
        } catch {
          return "";
        }
      })
      .filter((line) => pattern.test(line));
  }

  /** Folders of builds that are not over. */
  leftFolders(): readonly string[] {
    const folder = join(this.folder, "d/build/tmp");
    return existsSync(folder) ? readdirSync(folder) : [];
  }
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string | Buffer;
  readonly signal?: AbortSignal;
}
