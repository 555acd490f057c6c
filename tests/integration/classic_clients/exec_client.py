"""The client of the full cure, with a header in JSON: python exec_client.py PORT"""

import hashlib
import json
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
    client.send(bytes(cmd, encoding="gbk"))
    obj = client.recv(4)
    header_size = struct.unpack("i", obj)[0]
    header_bytes = client.recv(header_size)
    header_dic = json.loads(header_bytes.decode("utf-8"))
    total_size = header_dic["total_size"]
    recv_size = 0
    res = b""
    while recv_size < total_size:
        res += client.recv(1024)
        recv_size = len(res)
    print(res.decode("utf-8", "replace"), end="")
    matches = hashlib.md5(res).hexdigest() == header_dic["md5"]
    print(f"[{total_size} {header_dic['filename']} {matches}]")
client.close()
