"""Ciphertext on its way out: in order, and no more of it waiting than there may be."""

from __future__ import annotations

from typing import Any, cast

import pytest
from OpenSSL import SSL
from twisted.internet.protocol import Protocol

from sockserv.net.ciphertext import Ciphertext, TooMuchWaits
from sockserv.testing import Link, MemoryNetwork

LIMIT = 256 * 1024


class Tls:
    """Has for the peer what a test puts there."""

    def __init__(self) -> None:
        self.waiting = b""

    def bio_read(self, size: int) -> bytes:
        taken, self.waiting = self.waiting[:size], self.waiting[size:]
        if not taken:
            raise SSL.WantReadError
        return taken


class Listener(Protocol):
    received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data


class Way:
    """From OpenSSL to a peer whose link can be stalled."""

    def __init__(self) -> None:
        self.network, self.tls, self.peer = MemoryNetwork(), Tls(), Listener()
        self.link = Link(buffer_bytes=10)
        self.writable = 0
        sender = Protocol()
        self.network.join(sender, self.peer, self.link)
        tls = cast(Any, self.tls)
        assert sender.transport is not None
        self.out = Ciphertext(tls, sender.transport, self.on_writable)

    def on_writable(self) -> None:
        self.writable += 1

    def flush(self, data: bytes, expected: int = 1000) -> None:
        self.tls.waiting += data
        self.out.flush(expected)


@pytest.mark.parametrize("expected", [1, 3, 6, 7, 1000])
def test_everything_there_is(expected: int) -> None:
    way = Way()
    way.flush(b"", expected)
    way.flush(b"abcdef", expected)
    way.network.flush()
    assert way.peer.received == b"abcdef"


def test_the_order_is_kept_while_the_transport_is_blocked() -> None:
    way = Way()
    way.link.stall()
    for letter in b"abcdefgh":
        way.flush(bytes([letter]) * 20)
    assert [way.out.is_blocked, way.writable] == [True, 0]
    way.link.resume()
    way.network.flush()
    assert way.peer.received == b"".join(bytes([letter]) * 20 for letter in b"abcdefgh")
    assert [way.out.is_blocked, way.writable > 0] == [False, True]


def test_who_asks_for_answers_and_does_not_read_them() -> None:
    way = Way()
    way.link.stall()
    way.flush(b"blocked" * 10)
    way.flush(b"x" * LIMIT)
    with pytest.raises(TooMuchWaits, match="does not read what it asks for"):
        way.flush(b"x")
