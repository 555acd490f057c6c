"""Testing services, servers and clients in one process, without sockets and without waiting.

See docs/testing.md. `sockserv.testing.strategies` needs Hypothesis, and is imported by itself.
"""

from sockserv.testing.channel import Channel
from sockserv.testing.conformance import Example, ServiceConformance, check_service
from sockserv.testing.datagrams import (
    DatagramChannel,
    DatagramLink,
    DatagramNetwork,
    MemoryDatagramPort,
)
from sockserv.testing.fragments import EVERY_BYTE, RandomSizes
from sockserv.testing.link import Link, MemoryTransport
from sockserv.testing.network import Deadlock, Livelock, MemoryEndpoint, MemoryNetwork
from sockserv.testing.processes import (
    ScriptedChild,
    ScriptedProcess,
    ScriptedSpawner,
    SignalReceived,
    cat,
    exits,
    prints,
    sleeps,
)
from sockserv.testing.raw import Frame, RawPeer, frame, split_frames
from sockserv.testing.server import OWNER, HandlerFailed, LeftOver, MemoryServer

__all__ = [
    "EVERY_BYTE",
    "OWNER",
    "Channel",
    "DatagramChannel",
    "DatagramLink",
    "DatagramNetwork",
    "Deadlock",
    "Example",
    "Frame",
    "HandlerFailed",
    "LeftOver",
    "Link",
    "Livelock",
    "MemoryDatagramPort",
    "MemoryEndpoint",
    "MemoryNetwork",
    "MemoryServer",
    "MemoryTransport",
    "RandomSizes",
    "RawPeer",
    "ScriptedChild",
    "ScriptedProcess",
    "ScriptedSpawner",
    "ServiceConformance",
    "SignalReceived",
    "cat",
    "check_service",
    "exits",
    "frame",
    "prints",
    "sleeps",
    "split_frames",
]
