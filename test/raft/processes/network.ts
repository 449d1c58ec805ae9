/**
 * Hosts for manager processes: a network namespace each, all on one switch, with cables that can be
 * pulled. The namespaces carry our name and the process id, and go with `remove`.
 */

import { spawnSync } from "node:child_process";

const SUBNET = "10.253.77";

export class HostNetwork {
  readonly #names: readonly string[];
  readonly #moves = new Map<string, number>();
  readonly #prefix = `skep-rp-${process.pid}`;

  private constructor(names: readonly string[]) {
    this.#names = names;
  }

  static make(names: readonly string[]): HostNetwork {
    const network = new HostNetwork(names);
    try {
      network.#build();
    } catch (error) {
      network.remove();
      throw error;
    }
    return network;
  }

  address(name: string): string {
    return `${SUBNET}.${1 + this.#names.indexOf(name) + 100 * (this.#moves.get(name) ?? 0)}`;
  }

  /** Runs a command on the host. */
  prefix(name: string): readonly string[] {
    return ["nsenter", `--net=/run/netns/${this.#namespace(name)}`];
  }

  /** Pulls the cable, or plugs it in again. */
  cut(name: string, isCut: boolean): void {
    run("ip", "-n", this.#namespace("switch"), "link", "set", name, isCut ? "down" : "up");
  }

  /** What the host sends is lost, what it is sent arrives; or all is well again. */
  mute(name: string, isMuted: boolean): void {
    const [command = "", ...rest] = this.prefix(name);
    const rules = isMuted
      ? "add table inet skep_mute; add chain inet skep_mute out { type filter hook output priority 0; }; add rule inet skep_mute out oifname eth0 drop"
      : "delete table inet skep_mute";
    run(command, ...rest, "nft", rules);
  }

  /** Gives the host another address, and takes its old one away. */
  move(name: string): void {
    const host = this.#namespace(name);
    // The first address of a subnet takes those that were added to it with it.
    run("ip", "-n", host, "address", "delete", `${this.address(name)}/24`, "dev", "eth0");
    this.#moves.set(name, (this.#moves.get(name) ?? 0) + 1);
    run("ip", "-n", host, "address", "add", `${this.address(name)}/24`, "dev", "eth0");
  }

  remove(): void {
    for (const name of [...this.#names, "switch"]) {
      spawnSync("ip", ["netns", "delete", this.#namespace(name)]);
    }
  }

  #build(): void {
    const bridge = this.#namespace("switch");
    run("ip", "netns", "add", bridge);
    run("ip", "-n", bridge, "link", "add", "br0", "type", "bridge");
    run("ip", "-n", bridge, "link", "set", "br0", "up");
    for (const name of this.#names) {
      const host = this.#namespace(name);
      run("ip", "netns", "add", host);
      const cable = ["name", name, "type", "veth", "peer", "name", "eth0", "netns", host];
      run("ip", "-n", bridge, "link", "add", ...cable);
      run("ip", "-n", bridge, "link", "set", name, "master", "br0", "up");
      run("ip", "-n", host, "address", "add", `${this.address(name)}/24`, "dev", "eth0");
      run("ip", "-n", host, "link", "set", "eth0", "up");
      run("ip", "-n", host, "link", "set", "lo", "up");
    }
  }

  #namespace(name: string): string {
    return `${this.#prefix}-${name}`;
  }
}

export function run(command: string, ...args: readonly string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr}`);
}
