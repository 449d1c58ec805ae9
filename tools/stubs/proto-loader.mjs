// grpc-js asks for its .proto loader (and protobufjs with it: 200 kB of code that every start would
// read) for channelz and ORCA only, which the engine does not serve.
export function loadSync() {
  throw new Error("not part of this program");
}
