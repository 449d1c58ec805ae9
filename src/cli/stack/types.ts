/** What the stack commands read of networks and of the engine; the engine sends more. */

export interface NetworkResource {
  readonly Id: string;
  readonly Name: string;
  readonly Scope: string;
}

export interface EngineInfo {
  readonly Swarm: { readonly ControlAvailable?: boolean };
}
