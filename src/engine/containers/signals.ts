/** Names of signals as docker reads them: "SIGTERM", "term", "15", "RTMIN+3". */

import { constants } from "node:os";
import { EngineError } from "#base/error.ts";

const RTMIN = 34;
const RTMAX = 64;
const SIGNAL_MAX = 64;

export const SIGKILL = 9;

/** The signal's number; `invalid-argument` "invalid signal: X". */
export function parseSignal(text: string): number {
  const signal = signalNumber(text.trim());
  if (signal === undefined) throw new EngineError("invalid-argument", `invalid signal: ${text}`);
  return signal;
}

function signalNumber(text: string): number | undefined {
  if (/^\d+$/.test(text)) {
    const number = Number(text);
    return number >= 1 && number <= SIGNAL_MAX ? number : undefined;
  }
  const name = text.toUpperCase().replace(/^SIG/, "");
  const realTime = /^RT(MIN|MAX)([+-]\d+)?$/.exec(name);
  if (realTime !== null) {
    const number = (realTime[1] === "MIN" ? RTMIN : RTMAX) + Number(realTime[2] ?? 0);
    return number >= RTMIN && number <= RTMAX ? number : undefined;
  }
  if (name === "CLD") return constants.signals.SIGCHLD;
  return (constants.signals as Readonly<Record<string, number>>)[`SIG${name}`];
}
