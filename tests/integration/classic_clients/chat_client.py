"""The tutorial's QQ client: python chat_client.py PORT"""

import socket
import sys

udp_client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ip_port = ("127.0.0.1", int(sys.argv[1]))
while True:
    try:
        msg = input(">>: ").strip()
    except EOFError:
        break
    if not msg:
        continue
    udp_client.sendto(msg.encode("utf-8"), ip_port)
    back_msg, addr = udp_client.recvfrom(1024)
    print(f"from {addr[0]}:{addr[1]} {back_msg.decode('utf-8')}")
udp_client.close()
