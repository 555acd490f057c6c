"""The first program: a server that answers in capitals, and its client. Blocking, one client at a time.

python echo.py serve 9001
python echo.py talk 9001
"""

import socket
import sys


def serve(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            connection, address = listener.accept()
            print(f"a client on port {address[1]}", flush=True)
            with connection:
                while data := connection.recv(1024):  # b"" is the end: the client has closed
                    connection.sendall(data.decode().upper().encode())


def talk(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for line in sys.stdin:
            text = line.strip()
            if not text:
                continue  # nothing cannot be sent: there would be no byte, and no answer to wait for
            connection.sendall(text.encode())
            print(connection.recv(1024).decode(), flush=True)


if __name__ == "__main__":
    {"serve": serve, "talk": talk}[sys.argv[1]](int(sys.argv[2]))
