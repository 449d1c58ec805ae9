/**
 * The files by which a task proves which service it is of: certificate chain, private key and the roots
 * to trust, in a directory that is mounted into the container. The key is made here and never leaves
 * the host's memory. Renewed in place at half of a certificate's life: the three change together,
 * because the names lead through one symbolic link.
 */

import { mkdir, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "#base/error.ts";
import type { Clock, Log, Timer } from "#base/ports.ts";
import { readCertificate } from "#platform/x509/certificate.ts";
import { createRequest, generateKey } from "#platform/x509/issue.ts";

/** Where tasks find it. */
export const IDENTITY_PATH = "/run/skep/identity";

const FILES = { certificate: "svid.pem", key: "svid_key.pem", bundle: "bundle.pem" } as const;
/** The link to the version that counts. */
const CURRENT = "..current";
const RETRY_MS = 30_000;

export interface IssuedIdentity {
  /** PEM, leaf first. */
  readonly certificate: string;
  /** PEM of the roots. */
  readonly bundle: string;
}

export interface IdentityOptions {
  /** Asks the swarm; rejects when the task shall have none. */
  readonly issue: (taskId: string, csr: string) => Promise<IssuedIdentity>;
  readonly clock: Clock;
  readonly log: Log;
}

export class TaskIdentities {
  readonly #options: IdentityOptions;
  readonly #timers = new Map<string, Timer>();
  /** Of tasks that have one: what is on its way for another comes too late. */
  readonly #directories = new Map<string, string>();

  constructor(options: IdentityOptions) {
    this.#options = options;
  }

  /** A new identity in that directory, renewed until `forget`. */
  async write(directory: string, taskId: string): Promise<void> {
    this.#directories.set(taskId, directory);
    await this.#renew(directory, taskId);
  }

  async #renew(directory: string, taskId: string): Promise<void> {
    const key = generateKey();
    const csr = await createRequest(key, "");
    const { certificate, bundle } = await this.#options.issue(taskId, csr);
    if (!this.#directories.has(taskId)) return;
    const pem = key.export({ type: "pkcs8", format: "pem" }) as string;
    await replace(directory, {
      [FILES.certificate]: certificate,
      [FILES.key]: pem,
      [FILES.bundle]: bundle,
    });
    this.#renewLater(directory, taskId, certificate);
  }

  /** Goes on renewing what an earlier engine wrote; does nothing where there is nothing. */
  async resume(directory: string, taskId: string): Promise<void> {
    if (this.#timers.has(taskId)) return;
    try {
      const certificate = await readFile(join(directory, FILES.certificate), "utf8");
      this.#directories.set(taskId, directory);
      this.#renewLater(directory, taskId, certificate);
    } catch {
      // No identity, or none that can be read: the task's next start writes one.
    }
  }

  /** All of them now, because the roots of the swarm have changed. */
  renewAll(): void {
    for (const [taskId, directory] of this.#directories) this.#arm(directory, taskId, 0);
  }

  forget(taskId: string): void {
    this.#directories.delete(taskId);
    this.#timers.get(taskId)?.cancel();
    this.#timers.delete(taskId);
  }

  #renewLater(directory: string, taskId: string, certificate: string): void {
    const { clock } = this.#options;
    const { notBeforeMs, notAfterMs } = readCertificate(certificate);
    // Half of what is ahead of it when it is new: it starts as long before as it lives.
    const renewAtMs = notAfterMs - (notAfterMs - notBeforeMs) / 4;
    this.#arm(directory, taskId, Math.max(0, renewAtMs - clock.nowMs()));
  }

  #arm(directory: string, taskId: string, delayMs: number): void {
    const { clock, log } = this.#options;
    this.#timers.get(taskId)?.cancel();
    const renew = () => {
      this.#renew(directory, taskId).catch((error: unknown) => {
        if (!this.#directories.has(taskId)) return;
        log.warn("identity of a task not renewed, trying again", {
          task: taskId,
          reason: messageOf(error),
        });
        this.#arm(directory, taskId, RETRY_MS);
      });
    };
    this.#timers.set(taskId, clock.setTimer(delayMs, renew));
  }
}

/** All files at once. Readable by whatever user the task runs as: nobody else has the directory. */
async function replace(directory: string, files: Readonly<Record<string, string>>): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o755 });
  const known = await readdir(directory);
  const version = `..${Date.now()}-${known.length}`;
  await mkdir(join(directory, version), { mode: 0o755 });
  for (const [name, text] of Object.entries(files)) {
    await writeFile(join(directory, version, name), text, { mode: 0o444 });
  }
  await relink(join(directory, CURRENT), version);
  for (const name of Object.keys(files)) {
    if (!known.includes(name)) await relink(join(directory, name), join(CURRENT, name));
  }
  for (const old of known.filter((name) => /^\.\.\d/.test(name))) {
    await rm(join(directory, old), { recursive: true, force: true });
  }
}

async function relink(path: string, target: string): Promise<void> {
  await rm(`${path}.next`, { force: true });
  await symlink(target, `${path}.next`);
  await rename(`${path}.next`, path);
}
