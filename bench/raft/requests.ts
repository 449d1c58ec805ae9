/** The same write for both: a small object under a fresh name, as the bytes of a gRPC request. */

/** One durable write, and what shows that a member answers. */
export interface Dialect {
  readonly path: string;
  write(name: string, value: Uint8Array): Uint8Array;
}

/** Ours: a config of the swarm, through the Control service. */
export const CREATE_CONFIG: Dialect = {
  path: "/docker.swarmkit.v1.Control/CreateConfig",
  write: (name, value) => {
    const annotations = field(1, Buffer.from(name));
    return field(1, Buffer.concat([field(1, annotations), field(2, value)]));
  },
};

/** etcd's: a key. */
export const PUT: Dialect = {
  path: "/etcdserverpb.KV/Put",
  write: (name, value) => Buffer.concat([field(1, Buffer.from(name)), field(2, value)]),
};

/** A length-delimited field of a protobuf message. */
function field(number: number, bytes: Uint8Array): Buffer {
  const head = [(number << 3) | 2];
  let length = bytes.length;
  for (; length > 127; length >>>= 7) head.push((length & 127) | 128);
  head.push(length);
  return Buffer.concat([Buffer.from(head), bytes]);
}
