"""A network that loses, delays and reorders packets, or is cut, between real TCP of two network namespaces.

What `tc netem` does, on systems that have none: each namespace has a TUN device, and a thread carries the packets.
Needs to be the superuser, and the `ip` command.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final

import pytest

__all__ = ["WideArea", "wide_area"]

SERVER_ADDRESS: Final = "10.222.77.1"
CLIENT_ADDRESS: Final = "10.222.77.2"

_TUNSETIFF: Final = 0x400454CA
_IFF_TUN_NO_PI: Final = 0x0001 | 0x1000
_CLONE_NEWNET: Final = 0x40000000
_PACKET_BYTES: Final = 65_536
_DEVICE: Final = "wan0"


class WideArea(threading.Thread):
    """Carries packets between two devices: `loss` of them get lost, the others take `delay_seconds`, more or less."""

    def __init__(self, namespaces: tuple[str, str], devices: tuple[int, int], seed: int) -> None:
        super().__init__(daemon=True)
        self.server_side, self.client_side = namespaces
        self.loss = 0.0
        self.delay_seconds = 0.0
        self.is_cut = False
        self.lost_packets = self.carried_packets = 0
        self._other_end = dict(zip(devices, reversed(devices), strict=True))
        self._chance = random.Random(seed)
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._numbers = count()
        self._is_over = threading.Event()

    def run(self) -> None:
        """Until `stop`."""
        while not self._is_over.is_set():
            seconds = 0.02
            if self._under_way:
                seconds = min(seconds, max(0.0, self._under_way[0][0] - time.monotonic()))
            for device in select.select([*self._other_end], [], [], seconds)[0]:
                self._take(device)
            now = time.monotonic()
            while self._under_way and self._under_way[0][0] <= now:
                _, _, device, packet = heapq.heappop(self._under_way)
                with suppress(OSError):  # the device is not up yet
                    os.write(device, packet)

    def _take(self, device: int) -> None:
        with suppress(BlockingIOError):
            while True:
                packet = os.read(device, _PACKET_BYTES)
                if self.is_cut or self._chance.random() < self.loss:
                    self.lost_packets += 1
                    continue
                self.carried_packets += 1
                arrival = time.monotonic() + self.delay_seconds * self._chance.uniform(0.5, 1.5)
                each = (arrival, next(self._numbers), self._other_end[device], packet)
                heapq.heappush(self._under_way, each)

    def stop(self) -> None:
        """Carry nothing more."""
        self._is_over.set()
        self.join()

    @contextmanager
    def inside(self, namespace: str) -> Iterator[None]:
        """Processes that are started in this block, by this thread, have this side of the network, and no other."""
        with _inside(namespace):
            yield


@contextmanager
def wide_area(seed: int = 1) -> Iterator[WideArea]:
    """A network with two sides, which loses nothing yet; skips the test where none can be made."""
    if os.geteuid() or not Path("/dev/net/tun").exists():
        pytest.skip("network namespaces and TUN devices are for the superuser")
    names = (f"sockserv-a-{os.getpid()}", f"sockserv-b-{os.getpid()}")
    with ExitStack() as stack:
        devices = []
        for name, address in zip(names, (SERVER_ADDRESS, CLIENT_ADDRESS), strict=True):
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
            with _inside(name):
                devices.append(_open_device())
            stack.callback(os.close, devices[-1])
            _ip("-n", name, "addr", "add", f"{address}/30", "dev", _DEVICE)
            for device in ("lo", _DEVICE):
                _ip("-n", name, "link", "set", device, "up")
        network = WideArea(names, (devices[0], devices[1]), seed)
        network.start()
        stack.callback(network.stop)
        yield network


def _ip(*arguments: str) -> None:
    try:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no `ip` command here")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network can be made here: {error.stderr.strip()}")


def _open_device() -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", _DEVICE.encode(), _IFF_TUN_NO_PI))
    return device


@contextmanager
def _inside(namespace: str) -> Iterator[None]:
    """This thread, and what it starts, is in a network namespace."""
    setns = ctypes.CDLL(None, use_errno=True).setns  # Python has it from 3.12 on
    with open("/proc/thread-self/ns/net") as ours, open(f"/run/netns/{namespace}") as other:
        if setns(other.fileno(), _CLONE_NEWNET):
            pytest.skip(f"cannot enter a namespace: {os.strerror(ctypes.get_errno())}")
        try:
            yield
        finally:
            setns(ours.fileno(), _CLONE_NEWNET)
