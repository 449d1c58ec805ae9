/** `/exec` and `/containers/{id}/exec`: further processes in a running container. */

import { messageOf } from "#base/error.ts";
import type { ContainerEngine } from "#engine/containers/service.ts";
import type { ExecCreateBody, ExecStartBody } from "#wire/docker/exec.ts";
import { terminalSize } from "./containers.ts";
import { takeClient } from "./hijack-streams.ts";
import type { ApiRequest, ApiResponse, Routes } from "./route.ts";

export function execRoutes(containers: ContainerEngine): Routes {
  const { execs } = containers;
  return [
    {
      method: "POST",
      path: "/containers/{id}/exec",
      handler: async (request, response) => {
        const body = (await request.json<ExecCreateBody>()) ?? {};
        const exec = execs.create(request.params["id"] ?? "", body);
        response.json(201, { Id: exec.id });
      },
    },
    {
      method: "POST",
      path: "/exec/{id}/start",
      handler: (request, response) => start(containers, request, response),
    },
    {
      method: "POST",
      path: "/exec/{id}/resize",
      handler: async (request, response) => {
        const exec = execs.find(request.params["id"] ?? "");
        await execs.resize(exec, terminalSize(request));
        response.empty(200);
      },
    },
    {
      method: "GET",
      path: "/exec/{id}/json",
      handler: (request, response) =>
        response.json(200, execs.inspect(execs.find(request.params["id"] ?? ""))),
    },
  ];
}

async function start(
  { execs }: ContainerEngine,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const exec = execs.find(request.params["id"] ?? "");
  const body = (await request.json<ExecStartBody>()) ?? {};
  const [height = 0, width = 0] = body.ConsoleSize ?? [];
  const size = height > 0 && width > 0 ? { height, width } : undefined;
  if (body.Detach) {
    await execs.start(exec, undefined, size);
    response.empty(200);
    return;
  }
  execs.requireStartable(exec);
  const { AttachStdin = false, AttachStdout = false, AttachStderr = false } = exec.body;
  const { socket, streams } = takeClient(request, response, {
    terminal: exec.body.Tty ?? false,
    stdin: AttachStdin,
    stdout: AttachStdout,
    stderr: AttachStderr,
    detachKeys: exec.body.DetachKeys ?? "",
  });
  try {
    const { ended } = await execs.start(exec, streams, size);
    await ended;
  } catch (error) {
    // The status line is gone; the reason goes where the output would.
    void streams.write("stdout", Buffer.from(`${messageOf(error)}\r\n`));
  }
  socket.end();
}
