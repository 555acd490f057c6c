"""The bounds of a hub, each with its unit in its name."""

from __future__ import annotations

import attrs

__all__ = ["Allowance", "ChatLimits"]


@attrs.frozen(kw_only=True)
class ChatLimits:
    """How much a hub takes and keeps."""

    max_devices: int = 10_000
    """Joined at the same time."""

    max_devices_of_identity: int = 16

    max_rooms: int = 1_000
    """With somebody in them at the same time."""

    max_rooms_of_device: int = 64

    max_unreceived: int = 256
    """Messages on their way to one device; further ones wait in the store."""

    max_unstored: int = 256
    """Messages of one device that are not on the disk yet; it has to wait with the next one."""

    max_notices: int = 4096
    """Events besides messages that wait for one device; one that takes none has to join again."""

    messages_per_second: float = 20.0
    """How many messages an identity may send in the long run."""

    messages_at_once: int = 200
    """How many it may send in one go after having been silent."""

    history_count: int = 1_000_000
    """Messages that are kept."""

    history_seconds: float = 90 * 86_400.0
    """How long they are kept, and how long mail waits for somebody."""


class Allowance:
    """How much somebody may do: so many a second in the long run, so many at once after a while of nothing."""

    def __init__(self, *, per_second: float, at_once: int) -> None:
        self._per_second = per_second
        self._most = at_once / per_second
        # When all that was done would have been done at the steady rate.
        self._paid_until = 0.0

    def take(self, now: float) -> float:
        """Do one more: gives how many seconds that is too early, 0 if it is not."""
        self._paid_until = max(self._paid_until, now) + 1.0 / self._per_second
        return max(0.0, self._paid_until - now - self._most)
