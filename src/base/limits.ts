/**
 * Bounds. Every queue, body and frame of the program has its limit here, so that no peer and no
 * client can make it grow without end.
 */

/** Largest JSON body of an Engine API request, bytes (dockerd: unlimited; ours answers 413). */
export const API_BODY_MAX_BYTES = 16 * 1024 * 1024;
/** Largest gRPC message accepted between nodes and from containerd, bytes. */
export const GRPC_MESSAGE_MAX_BYTES = 16 * 1024 * 1024;
/** Most object changes of one store transaction (SwarmKit: 200 and split; ours is one raft entry). */
export const STORE_CHANGES_MAX = 20_000;
/** Largest encoded store transaction, bytes; stays under the gRPC message limit with room to spare. */
export const STORE_TRANSACTION_MAX_BYTES = 8 * 1024 * 1024;
/** Proposals that may wait for their commit at once; more are refused as unavailable. */
export const PROPOSALS_IN_FLIGHT_MAX = 4_096;
/** Events kept for a watcher that reads slowly; beyond it the watcher is told to resume. */
export const WATCH_QUEUE_MAX = 65_536;
/** Secret payload, bytes, exclusive (SwarmKit's `MaxSecretSize`). */
export const SECRET_MAX_BYTES = 500 * 1024;
/** Config payload, bytes, exclusive (SwarmKit's `MaxConfigSize`). */
export const CONFIG_MAX_BYTES = 1000 * 1024;
