"""A flood of datagrams that belong to nobody, at a steady rate, until standard input closes.

Arguments: the port, how many a second, and the id of a session in hexadecimal: every eighth datagram pretends to be of
that.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time

SIZES = (0, 1, 16, 17, 33, 60, 200, 1200, 1201, 4000)
PAUSE_SECONDS = 0.002


def main(port: int, rate: float, session_id: bytes) -> None:
    """Send, in small bursts."""
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    garbage = [os.urandom(size) for size in SIZES for _ in range(7)]
    garbage += [b"\x51" + session_id + os.urandom(60) for _ in range(len(SIZES))]
    sent = 0
    start = time.monotonic()
    while True:
        due = int((time.monotonic() - start) * rate)
        for number in range(sent, due):
            made.sendto(garbage[number % len(garbage)], ("127.0.0.1", port))
        sent = due
        time.sleep(PAUSE_SECONDS)


def _end_with_standard_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), bytes.fromhex(sys.argv[3]))
