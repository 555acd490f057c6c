"""The client of the upload server: python put_client.py PORT"""

import json
import os
import socket
import struct
import sys


class MYTCPClient:
    def __init__(self, server_address: tuple[str, int]) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.connect(server_address)

    def run(self) -> None:
        while True:
            try:
                inp = input(">>: ").strip()
            except EOFError:
                break
            if not inp:
                continue
            args = inp.split()
            if hasattr(self, args[0]):
                getattr(self, args[0])(args)
        self.socket.close()

    def put(self, args: list[str]) -> None:
        filename = args[1]
        if not os.path.isfile(filename):
            print(f"file:{filename} is not exists")
            return
        filesize = os.path.getsize(filename)
        head_dic = {"cmd": args[0], "filename": os.path.basename(filename), "filesize": filesize}
        head_json_bytes = bytes(json.dumps(head_dic), encoding="utf-8")
        self.socket.send(struct.pack("i", len(head_json_bytes)))
        self.socket.send(head_json_bytes)
        send_size = 0
        with open(filename, "rb") as f:
            for line in f:
                self.socket.sendall(line)
                send_size += len(line)
        print("upload successful" if send_size == filesize else "cut short")

    def get(self, args: list[str]) -> None:
        head_json_bytes = bytes(json.dumps({"cmd": "get", "filename": args[1]}), encoding="utf-8")
        self.socket.send(struct.pack("i", len(head_json_bytes)))
        self.socket.send(head_json_bytes)
        head_dic = json.loads(self.read(struct.unpack("i", self.read(4))[0]))
        if "error" in head_dic:
            print("error:", head_dic["error"])
            return
        with open(args[2], "wb") as f:
            f.write(self.read(head_dic["filesize"]))
        print("download successful")

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self.socket.recv(size - len(data))
        return data


MYTCPClient(("127.0.0.1", int(sys.argv[1]))).run()
