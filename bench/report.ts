/** What a bench tells. */

export interface Measurement {
  readonly name: string;
  readonly ours: number | string;
  /** The peer's figure, or why it could not run here. */
  readonly peer: number | string;
  readonly unit: string;
  /** Above 1 means that we are ahead; undefined without a peer's figure. */
  readonly ratio: number | undefined;
}

export type Report = (measurement: Measurement) => void;
