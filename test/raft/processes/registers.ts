/**
 * Registers kept in the swarm, as clients of its API would: a config each, whose label is the value.
 * A read is linearizable, a write succeeds only from the version that was read. Every call and
 * answer is noted for the checker.
 */

import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { UnaryClient } from "#platform/grpc/testing/unary.ts";
import {
  CreateConfigRequestSchema,
  CreateConfigResponseSchema,
  GetConfigRequestSchema,
  GetConfigResponseSchema,
  UpdateConfigRequestSchema,
} from "#wire/gen/swarmkit/control_pb.js";
import type { Config } from "#wire/gen/swarmkit/objects_pb.js";
import type { Action, Answer, Operation } from "../../../sim/linearizability.ts";

const CALL_TIMEOUT_MS = 3_000;
const LABEL = "value";

export class Registers {
  readonly history: Operation[] = [];
  readonly #ids: readonly string[];
  #values = 0;

  private constructor(ids: readonly string[]) {
    this.#ids = ids;
  }

  /** Makes the registers, with the value 0. */
  static async make(socket: string, count: number): Promise<Registers> {
    const client = new UnaryClient(socket);
    const ids: string[] = [];
    for (let key = 0; key < count; key++) {
      const annotations = { name: `register-${key}`, labels: { [LABEL]: "0" } };
      const request = { spec: { annotations, data: Buffer.from("register") } };
      const body = toBinary(CreateConfigRequestSchema, create(CreateConfigRequestSchema, request));
      const answer = await client.call(control("CreateConfig"), body);
      if (answer.status !== 0) throw new Error(answer.message);
      ids.push(fromBinary(CreateConfigResponseSchema, answer.body).config?.id ?? "");
    }
    client.close();
    return new Registers(ids);
  }

  get keys(): readonly number[] {
    return [...this.#ids.keys()];
  }

  /** Reads, and tries to write what nobody wrote before. True if the write was accepted. */
  async exchange(client: number, connection: UnaryClient, key: number): Promise<boolean> {
    const config = await this.read(client, connection, key);
    if (config === undefined) return false;
    this.#values += 1;
    const value = this.#values;
    const expected = valueOf(config);
    const action: Action = { kind: "cas", expected, value };
    const labels = { [LABEL]: `${value}` };
    const annotations = { name: config.spec?.annotations?.name ?? "", labels };
    const request: MessageInitShape<typeof UpdateConfigRequestSchema> = {
      configId: config.id,
      spec: { annotations },
      ...(config.meta?.version === undefined ? {} : { configVersion: config.meta.version }),
    };
    const body = toBinary(UpdateConfigRequestSchema, create(UpdateConfigRequestSchema, request));
    return await this.#note(client, key, action, async () => {
      const answer = await connection.call(control("UpdateConfig"), body, CALL_TIMEOUT_MS);
      if (answer.status === 0) return { value: 0, ok: true };
      // Whatever else is said, the change may still come to pass.
      const isRefused = answer.message.includes("update out of sequence");
      return isRefused ? { value: 0, ok: false } : undefined;
    });
  }

  async read(client: number, connection: UnaryClient, key: number): Promise<Config | undefined> {
    let config: Config | undefined;
    await this.#note(client, key, { kind: "read" }, async () => {
      const configId = this.#ids[key] ?? "";
      const body = toBinary(GetConfigRequestSchema, create(GetConfigRequestSchema, { configId }));
      const answer = await connection.call(control("GetConfig"), body, CALL_TIMEOUT_MS);
      if (answer.status !== 0) return undefined;
      config = fromBinary(GetConfigResponseSchema, answer.body).config;
      return config === undefined ? undefined : { value: valueOf(config), ok: true };
    });
    return config;
  }

  async #note(
    client: number,
    key: number,
    action: Action,
    call: () => Promise<Omit<Answer, "at"> | undefined>,
  ): Promise<boolean> {
    const calledAt = performance.now();
    const told = await call();
    const answer = told === undefined ? undefined : { ...told, at: performance.now() };
    this.history.push({ client, key, action, calledAt, answer });
    return told?.ok === true;
  }
}

/** Fills the logs: a config of many bytes. */
export async function createLarge(
  connection: UnaryClient,
  number: number,
  data: Uint8Array,
): Promise<void> {
  const request = { spec: { annotations: { name: `large-${number}` }, data } };
  const body = toBinary(CreateConfigRequestSchema, create(CreateConfigRequestSchema, request));
  await connection.call(control("CreateConfig"), body, CALL_TIMEOUT_MS);
}

function valueOf(config: Config): number {
  return Number(config.spec?.annotations?.labels[LABEL] ?? Number.NaN);
}

function control(method: string): string {
  return `/docker.swarmkit.v1.Control/${method}`;
}
