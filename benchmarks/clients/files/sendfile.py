"""The limit: a blocking socket, and a buffer that is used again and again."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from benchmarks.clients.files.jobs import Job, do_jobs, read_plan

BUFFER_BYTES = 1024 * 1024


def main() -> None:
    """Do what there is to do; each job is a connection."""
    port = read_plan()["port"]
    buffer = memoryview(bytearray(BUFFER_BYTES))

    def do(job: Job) -> None:
        with socket.create_connection(("127.0.0.1", port)) as server:
            is_put = job.task == "put"
            order = {"path": job.served, "size": job.local.stat().st_size if is_put else None}
            server.sendall(json.dumps(order).encode() + b"\n")
            if is_put:
                with job.local.open("rb") as file:
                    server.sendfile(file)
                server.recv(1)
            else:
                _receive(server, None if job.task == "discard" else job.local)

    def _receive(server: socket.socket, local: Path | None) -> None:
        if local is None:
            while server.recv_into(buffer):
                pass
            return
        with local.open("wb", buffering=0) as file:
            while count := server.recv_into(buffer):
                file.write(buffer[:count])

    do_jobs(do)


if __name__ == "__main__":
    main()
