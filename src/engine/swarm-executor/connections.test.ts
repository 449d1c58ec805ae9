import { describe, expect, it } from "vitest";
import { inboundConnections } from "./connections.ts";

const HEAD =
  "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

function tcp(...sockets: readonly (readonly [local: string, state: string])[]): string {
  const lines = sockets.map(
    ([local, state], at) =>
      `   ${at}: ${local} 0200000A:C350 ${state} 00000000:00000000 00:00000000 00000000     0        0 1`,
  );
  return `${HEAD}${lines.join("\n")}\n`;
}

const LISTENS = ["00000000:1F90", "0A"] as const;
const LISTENS_6 = ["00000000000000000000000000000000:1F90", "0A"] as const;

describe("inboundConnections", () => {
  it("counts what came in to a port that is listened on", () => {
    const text = tcp(LISTENS, ["0500000A:1F90", "01"], ["0500000A:1F90", "03"]);
    expect(inboundConnections(text, HEAD)).toBe(2);
  });

  it("counts what is closed here and not delivered yet", () => {
    const states = ["04", "09", "0B"].map((state) => ["0500000A:1F90", state] as const);
    expect(inboundConnections(tcp(LISTENS, ...states), HEAD)).toBe(3);
  });

  it("leaves out what went out, has ended, or never left the container", () => {
    const text = tcp(
      LISTENS,
      ["0500000A:9C40", "01"],
      ["0500000A:1F90", "05"],
      ["0500000A:1F90", "06"],
      ["0500000A:1F90", "08"],
      ["0100007F:1F90", "01"],
    );
    expect(inboundConnections(text, HEAD)).toBe(0);
  });

  it("counts IPv4 that an IPv6 socket took, and IPv6", () => {
    const text = tcp(
      LISTENS_6,
      ["0000000000000000FFFF00000500000A:1F90", "01"],
      ["0000000000000000FFFF00000100007F:1F90", "01"],
      ["00000000000000000000000001000000:1F90", "01"],
      ["010000FD000000000000000005000000:1F90", "01"],
    );
    expect(inboundConnections(HEAD, text)).toBe(2);
  });

  it("makes nothing of files that are gone or odd", () => {
    expect(inboundConnections("", "")).toBe(0);
    expect(inboundConnections(`${HEAD}\n  x\n`, "what")).toBe(0);
  });
});
