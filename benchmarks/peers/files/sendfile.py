"""The limit: blocking sockets, `socket.sendfile` one way, `recv_into` and `write` the other, and nothing else."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

from benchmarks.peers.announce import announce

BUFFER_BYTES = 1024 * 1024


def main() -> None:
    """Serve one connection after the other until the runner goes away."""
    folder = Path(sys.argv[1])
    buffer = memoryview(bytearray(BUFFER_BYTES))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        announce(listener.getsockname()[1])
        while True:
            client, _ = listener.accept()
            with client:
                order = b""
                while not order.endswith(b"\n"):
                    order += client.recv(1)
                wanted = json.loads(order)
                path = folder / wanted["path"]
                if wanted["size"] is None:
                    with path.open("rb") as file:
                        client.sendfile(file)
                    continue
                left = wanted["size"]
                with path.open("wb", buffering=0) as file:
                    while left:
                        count = client.recv_into(buffer)
                        file.write(buffer[:count])
                        left -= count
                client.sendall(b"\n")


if __name__ == "__main__":
    main()
