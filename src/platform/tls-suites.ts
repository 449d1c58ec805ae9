/** Which TLS this program speaks, wherever it listens. */

/**
 * TLS 1.3, and of 1.2 (which Docker's engines and clients speak) what has forward secrecy and no padding,
 * for servers whose key is an ECDSA one.
 */
const ECDSA = [
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "TLS_AES_128_GCM_SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
];

export const ECDSA_SUITES = ECDSA.join(":");

/** The same for servers whose operators choose the key. */
export const ANY_KEY_SUITES = ECDSA.flatMap((suite) =>
  suite.includes("-ECDSA-") ? [suite, suite.replace("-ECDSA-", "-RSA-")] : [suite],
).join(":");

/** A connection that has not shaken hands by then is closed, milliseconds. */
export const HANDSHAKE_TIMEOUT_MS = 10_000;
