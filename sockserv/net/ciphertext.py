"""What OpenSSL has for the peer, on its way to the transport."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from OpenSSL import SSL
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import ITransport

from sockserv.net.outlet import outlet_for

__all__ = ["Ciphertext", "TooMuchWaits"]

_MAX_WAITING_BYTES: Final = 256 * 1024
"""How much of OpenSSL's own may wait while the transport is blocked, and the protocol with it: part of a handshake, or
answers that a peer can ask for as long as it likes (RFC 8446, section 4.6.3), and never read."""

_MAX_PIECE_BYTES: Final = 120 * 1024
"""From 128 KiB on glibc may map fresh memory for every piece, which costs more than encrypting it."""


class TooMuchWaits(ConnectionLost):
    """The peer asks OpenSSL for more and more answers, and does not read them."""


class Ciphertext:
    """Takes from OpenSSL what it has for the peer, and sends it as the transport takes it."""

    def __init__(
        self, tls: SSL.Connection, transport: ITransport, on_writable: Callable[[], None]
    ) -> None:
        self._tls = tls
        self._raw = outlet_for(transport, self._on_raw_writable)
        self._on_writable = on_writable
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    @property
    def is_blocked(self) -> bool:
        """Whether nothing more should be encrypted until `on_writable` is called."""
        return self._raw.is_blocked

    def on_received(self, size: int) -> None:
        """A delivery of `size` bytes has come in."""
        self._raw.on_received(size)

    def yield_turn(self) -> None:
        """Let others have the reactor, and call `on_writable` when the transport takes more."""
        self._raw.yield_turn()

    def send_plain(self, data: bytes) -> None:
        """Send something that is not OpenSSL's."""
        self._raw.write([data], len(data))

    def flush(self, expected_bytes: int) -> None:
        """Send all that OpenSSL has, which is probably less than `expected_bytes`.

        Raises `TooMuchWaits` when the transport takes too little of it.
        """
        taken: list[bytes] = []
        piece_bytes = min(expected_bytes, _MAX_PIECE_BYTES)
        with suppress(SSL.WantReadError):
            while True:
                taken.append(self._tls.bio_read(piece_bytes))
                if len(taken[-1]) < piece_bytes:
                    break
        if not taken:
            return
        size = sum(map(len, taken))
        if not self._raw.is_blocked:
            self._raw.write(taken, size)
            return
        self._waiting += taken
        self._waiting_bytes += size
        if self._waiting_bytes > _MAX_WAITING_BYTES:
            raise TooMuchWaits("the peer does not read what it asks for")

    def close(self) -> None:
        """Close our half of the connection: nothing more is sent."""
        self._raw.close()

    def _on_raw_writable(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            size, self._waiting_bytes = self._waiting_bytes, 0
            self._raw.write(waiting, size)
        if not self._raw.is_blocked:
            self._on_writable()
