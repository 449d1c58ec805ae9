/**
 * Firewalls of others that drop, by policy, what is forwarded: ufw's, and dockerd's where it runs beside
 * us. A packet passes only if every table lets it, so that ours cannot help it; and others' tables are
 * not ours to change. Containers are cut off then, which is told with the words that mend it.
 */

import type { Nft } from "#platform/net/nft.ts";

/** Such chains: "ip filter FORWARD". Those of xtables' own kernel part (iptables-legacy) are not seen. */
export async function forwardDrops(nft: Nft): Promise<readonly string[]> {
  return (await nft.list("list chains")).flatMap(({ chain }) => {
    if (chain?.["hook"] !== "forward" || chain["policy"] !== "drop") return [];
    return [`${String(chain["family"])} ${String(chain["table"])} ${String(chain["name"])}`];
  });
}

/** What to enter, so that the chains let our bridges' traffic pass. */
export function remedyFor(chains: readonly string[], bridges: readonly string[]): string {
  const commands = chains.flatMap((text) => {
    const [family = "", table = "", chain = ""] = text.split(" ");
    const tool = { ip: "iptables", ip6: "ip6tables" }[family];
    return bridges.flatMap((bridge) =>
      ["-i", "-o"].map((direction) =>
        tool !== undefined && table === "filter"
          ? `${tool} -I ${chain} ${direction} ${bridge} -j ACCEPT`
          : `nft insert rule ${text} ${direction === "-i" ? "iifname" : "oifname"} "${bridge.replace("+", "*")}" accept`,
      ),
    );
  });
  return commands.join("; ");
}
