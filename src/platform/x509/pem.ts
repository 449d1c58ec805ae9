/**
 * PEM text: blocks of base64 between markers, with optional headers (`name: value` lines), as the
 * node's key file uses them. What stands between blocks is skipped.
 */

export interface PemBlock {
  /** "CERTIFICATE", "PRIVATE KEY", … */
  readonly label: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly der: Buffer;
}

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----\r?\n([\s\S]*?)-----END \1-----/g;
const HEADER = /^([A-Za-z0-9-]+): (.*)$/;

export function parsePem(text: string): readonly PemBlock[] {
  return [...text.matchAll(BLOCK)].map(([, label = "", body = ""]) => {
    const headers: Record<string, string> = {};
    let base64 = "";
    for (const line of body.split(/\r?\n/)) {
      const header = HEADER.exec(line);
      if (header === null) base64 += line.trim();
      else headers[header[1] ?? ""] = header[2] ?? "";
    }
    return { label, headers, der: Buffer.from(base64, "base64") };
  });
}

export function formatPem(
  label: string,
  der: Uint8Array,
  headers: Readonly<Record<string, string>> = {},
): string {
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  const names = Object.keys(headers).sort();
  const head = names.map((name) => `${name}: ${headers[name]}\n`).join("");
  const gap = head === "" ? "" : "\n";
  return `-----BEGIN ${label}-----\n${head}${gap}${lines.join("\n")}\n-----END ${label}-----\n`;
}

/** The certificates of a bundle, in order, each as PEM of its own. */
export function splitCertificates(bundle: string): readonly string[] {
  return parsePem(bundle)
    .filter((block) => block.label === "CERTIFICATE")
    .map((block) => formatPem("CERTIFICATE", block.der));
}
