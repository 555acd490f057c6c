"""Where a server sends to: the address at which its client has proved to be.

Invariants:

1. To an address that is not proved nothing is sent but challenges: each is no larger than the datagram that caused it,
   and for one datagram there is at most one.
2. An address is proved by an authentic datagram that comes from it and brings the token which was sent there.
3. Only the newest datagram can say that the client has moved: one that was late, or held back, cannot.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final

from sockserv.wire.datagrams.layout import TOKEN_BYTES

__all__ = ["ClientPath"]

_CHALLENGE_INTERVAL_SECONDS: Final = 0.1
"""The same address is asked no more often."""


class ClientPath:
    """The proved address of a client (None: there is none yet), and one that is being asked."""

    __slots__ = ("_asked_at", "_candidate", "_is_due", "_random", "_token", "address")

    def __init__(self, random: Random) -> None:
        self.address: Any = None
        self._random = random
        self._candidate: Any = None
        self._token = b""
        self._asked_at = float("-inf")
        self._is_due = False

    @property
    def is_asking(self) -> bool:
        """Whether another address than the proved one is being asked."""
        return self._candidate is not None

    def on_datagram(self, address: Any, now: float, *, is_newest: bool, may_answer: bool) -> None:
        """An authentic datagram has come from `address`; `may_answer`: a challenge is not larger than it was."""
        if not is_newest:
            return
        if address == self.address:
            self._candidate = None
            self._is_due = False
            return
        if not may_answer:
            return
        if address != self._candidate:
            self._candidate = address
            self._token = self._random.randbytes(TOKEN_BYTES)
        elif now < self._asked_at + _CHALLENGE_INTERVAL_SECONDS:
            return
        self._asked_at = now
        self._is_due = True

    def on_response(self, address: Any, token: bytes) -> bool:
        """A token has come back, in an authentic datagram; whether it proves that the client is there."""
        if self._candidate is None or address != self._candidate or token != self._token:
            return False
        self.address = address
        self._candidate = None
        self._is_due = False
        return True

    def take_challenge(self) -> tuple[Any, bytes] | None:
        """An address to be asked now, and the token for it."""
        if not self._is_due:
            return None
        self._is_due = False
        return self._candidate, self._token
