"""Why a datagram is dropped: it is counted, never answered, and changes nothing."""

from __future__ import annotations

from enum import StrEnum

from sockserv.errors import SockservError

__all__ = ["DatagramDropped", "DropReason"]


class DropReason(StrEnum):
    """What is wrong with a datagram."""

    TOO_SHORT = "too-short"
    TOO_LONG = "too-long"
    WRONG_KIND = "wrong-kind"
    """Neither sealed nor plain, or not as this session wants it."""
    UNKNOWN_SESSION = "unknown-session"
    FORGED = "forged"
    """The seal is not that of the session: forged, damaged, or our own sent back to us."""
    REPLAYED = "replayed"
    TOO_OLD = "too-old"
    """So far behind the newest that it cannot be told whether it was here before."""
    MALFORMED = "malformed"
    """What was sealed is not as the protocol has it."""
    EXCESSIVE = "excessive"
    """More streams, or more messages ahead of a missing one, than a peer may use."""


class DatagramDropped(SockservError):
    """A datagram is of no use; raised by the readers of this room and caught by the session."""

    def __init__(self, reason: DropReason) -> None:
        super().__init__(f"a datagram was dropped: {reason}")
        self.reason = reason
