"""The client of the simple cure for sticky packets: python exec_low_client.py PORT"""

import socket
import struct
import sys

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect(("127.0.0.1", int(sys.argv[1])))
while True:
    try:
        cmd = input(">>: ").strip()
    except EOFError:
        break
    if not cmd:
        continue
    client.send(cmd.encode("gbk"))
    header = client.recv(4)
    total_size = struct.unpack("i", header)[0]
    recv_size = 0
    res = b""
    while recv_size < total_size:
        data = client.recv(1024)
        res += data
        recv_size += len(data)
    print(res.decode("utf-8", "replace"), end="")
    print(f"[{total_size}]")
client.close()
