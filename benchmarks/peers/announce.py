"""What every peer process does besides serving: say where it listens, and end with the runner."""

from __future__ import annotations

import json
import os
import sys
import threading

#: Length of the listen queue: ten thousand clients connect in a row, and none may meet a full one.
BACKLOG = 4096


def announce(port: int, **secrets: str) -> None:
    """Print the one line the runner waits for, then end this process when standard input closes.

    Standard input closes when the runner does, however it ends, so no peer is ever left behind.

    :param port: the TCP port on 127.0.0.1.
    :param secrets: what a client needs besides, such as a token.
    """
    print(json.dumps({"port": port, "secrets": secrets}), flush=True)
    threading.Thread(target=_end_with_standard_input, daemon=True).start()


def _end_with_standard_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)
