"""A header that can say more than a length: four bytes, a JSON object, and then the data.

    python json_header.py

It runs a command for a client, on one connection, and says how that has ended.
"""

import hashlib
import json
import socket
import subprocess
import threading

from length_prefix import receive_exactly, receive_message, send_message
from sticky_packets import connected


def serve(connection: socket.socket) -> None:
    with connection:
        while True:
            try:
                command = json.loads(receive_message(connection))["command"]
            except EOFError:
                return
            # A list, not a text for the shell: what comes from a network goes through no shell.
            done = subprocess.run(command, capture_output=True, check=False)
            header = {
                "stdout_bytes": len(done.stdout),
                "stderr_bytes": len(done.stderr),
                "sha256": hashlib.sha256(done.stdout + done.stderr).hexdigest(),
                "exit_code": done.returncode,
            }
            send_message(connection, json.dumps(header).encode())
            connection.sendall(done.stdout + done.stderr)


def run(connection: socket.socket, *command: str) -> None:
    send_message(connection, json.dumps({"command": command}).encode())
    header = json.loads(receive_message(connection))
    stdout = receive_exactly(connection, header["stdout_bytes"])
    stderr = receive_exactly(connection, header["stderr_bytes"])
    assert hashlib.sha256(stdout + stderr).hexdigest() == header["sha256"]
    print(*command, "->", header["exit_code"], stdout.decode().split(), stderr.decode().split())


if __name__ == "__main__":
    client, server = connected()
    threading.Thread(target=serve, args=[server]).start()
    with client:
        run(client, "echo", "one", "two")
        run(client, "sh", "-c", "echo out; echo wrong >&2; exit 3")
        run(client, "seq", "5")
