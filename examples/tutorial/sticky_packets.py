"""Sticky packets: TCP carries a stream of bytes, and knows nothing of the messages in it.

python sticky_packets.py
"""

import socket
import threading
import time


def connected() -> tuple[socket.socket, socket.socket]:
    """Two ends of a real connection over the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    return one, other


def three_become_one() -> None:
    sender, receiver = connected()
    with sender, receiver:
        for command in (b"ls", b"pwd", b"date"):
            sender.sendall(command)
        time.sleep(0.2)  # the receiver is busy with something else
        print("sent:     ls, pwd, date")
        print("received:", receiver.recv(1024).decode())


def one_becomes_many() -> None:
    sender, receiver = connected()
    answer = b"x" * 1_000_000

    def send() -> None:
        with sender:
            sender.sendall(answer)

    thread = threading.Thread(target=send)
    thread.start()
    with receiver:
        first = len(receiver.recv(8096))
        pieces, received = 1, first
        while piece := receiver.recv(8096):
            pieces += 1
            received += len(piece)
    thread.join()
    print("sent:     one answer of", len(answer), "bytes")
    print("received:", first, "bytes at first, and", received, "after", pieces, "times recv")


if __name__ == "__main__":
    three_become_one()
    one_becomes_many()
