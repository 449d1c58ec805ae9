/** Commands of docker's that are none of ours, and why. */

const REASONS: readonly (readonly [RegExp, string])[] = [
  [/^checkpoint\b/, "CRIU is not used"],
  [/^completion powershell\b/, "engines run on Linux"],
  [/^manifest\b/, "lists of manifests are made where images are built"],
  [
    /^plugin (create|install|push|upgrade)\b/,
    "managed plugins are not run: those on the host are found by their sockets",
  ],
  [/^trust\b/, "signatures of Notary's first version are not checked"],
  [/^volume update\b/, "cluster volumes are not supported"],
];

export function reasonWithout(command: string): string | undefined {
  return REASONS.find(([pattern]) => pattern.test(command))?.[1];
}
