/**
 * What a bench has made on this machine, to be taken away whatever happens: at its end, when it
 * fails, and when somebody presses ^C. Last in, first out.
 */

const steps: (() => Promise<void>)[] = [];
let undoing: Promise<void> | undefined;

/** Remembers how to take something away. Register before making it: half made counts, too. */
export function undoLater(step: () => Promise<void>): void {
  if (steps.length === 0) listen();
  steps.push(step);
}

/** Takes everything away; says what could not be. */
export function undoAll(): Promise<void> {
  undoing ??= undo().finally(() => (undoing = undefined));
  return undoing;
}

async function undo(): Promise<void> {
  for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
    await step().catch((error: unknown) => {
      process.stderr.write(`left behind: ${String(error)}\n`);
    });
  }
  process.off("SIGINT", onSignal);
  process.off("SIGTERM", onSignal);
}

function listen(): void {
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
}

function onSignal(signal: NodeJS.Signals): void {
  process.stderr.write(`${signal}: taking down what was started\n`);
  void undoAll().finally(() => process.exit(signal === "SIGINT" ? 130 : 143));
}
