"""UDP keeps the borders of messages. What it does not keep is the messages.

python datagrams.py
"""

import socket


def receiver() -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(("127.0.0.1", 0))
    bound.settimeout(0.5)
    return bound


def borders() -> None:
    with receiver() as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for command in (b"ls", b"", b"date"):
            other.sendto(command, one.getsockname())
        print("sent:     b'ls', b'', b'date'")
        print("received:", ", ".join(repr(one.recv(1024)) for _ in range(3)))


def truncation() -> None:
    with receiver() as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.sendto(b"a long message", one.getsockname())
        other.sendto(b"the next one", one.getsockname())
        print("asked for 6 bytes:", one.recv(6), "and then", one.recv(6))


def loss() -> None:
    with receiver() as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        for number in range(10_000):
            other.sendto(b"%1000d" % number, one.getsockname())  # and nobody is told that
        received = 0
        try:
            while one.recv(1024):
                received += 1
        except TimeoutError:
            pass
        print("sent: 10000, received:", received)


if __name__ == "__main__":
    borders()
    truncation()
    loss()
