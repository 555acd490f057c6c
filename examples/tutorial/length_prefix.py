"""The cure: four bytes before each message say how long it is.

python length_prefix.py
"""

import socket
import struct

from sticky_packets import connected

LENGTH = struct.Struct("!I")  # network byte order: the same on every machine, unlike "i"
MAX_BYTES = 1024 * 1024


def send_message(connection: socket.socket, message: bytes) -> None:
    connection.sendall(LENGTH.pack(len(message)) + message)


def receive_exactly(connection: socket.socket, count: int) -> bytes:
    """`recv(count)` gives from 1 to `count` bytes; this gives `count`."""
    pieces = []
    while count:
        piece = connection.recv(min(count, 65536))
        if not piece:
            raise EOFError(f"the connection ended {count} bytes too early")
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def receive_message(connection: socket.socket) -> bytes:
    (length,) = LENGTH.unpack(receive_exactly(connection, LENGTH.size))
    if length > MAX_BYTES:
        # Anybody can write "4 GiB follow" into four bytes. Look before reserving the memory.
        raise ValueError(f"a message of {length} bytes is too long: at most {MAX_BYTES}")
    return receive_exactly(connection, length)


if __name__ == "__main__":
    sender, receiver = connected()
    with sender, receiver:
        for command in (b"ls", b"", b"pwd", b"date"):
            send_message(sender, command)
        print("received:", [receive_message(receiver).decode() for _ in range(4)])

    sender, receiver = connected()
    with receiver:
        with sender:
            sender.sendall(LENGTH.pack(1000) + b"only this")
        try:
            receive_message(receiver)
        except EOFError as error:
            print("cut off: ", error)

    sender, receiver = connected()
    with sender, receiver:
        sender.sendall(b"GET / HTTP/1.1\r\n\r\n")
        try:
            receive_message(receiver)
        except ValueError as error:
            print("a liar:  ", error)
