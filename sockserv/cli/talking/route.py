"""Telling by which way a chat goes, when that has lasted: a network that loses much changes it every few seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Route"]

_SETTLED_SECONDS: Final = 10.0

_TOLD: Final = {
    True: "what is said goes over UDP again",
    False: "no UDP gets through here: what is said goes over the connection",
}


class Route:
    """By which way it goes; that it goes by datagrams, where they are offered, is what nobody needs to be told at
    first.
    """

    def __init__(self, clock: IReactorTime, tell: Callable[[str], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._told = True
        self._now = True
        self._timer: IDelayedCall | None = None

    def begin(self, *, has_datagrams: bool, goes_by_them: bool) -> None:
        """There is a connection, whose hub offers datagrams or not; these may have got through already."""
        self.stop()
        if has_datagrams:
            self.change(goes_by_them)

    def change(self, by_datagrams: bool, why: str = "") -> None:
        """It goes the other way now. The reasons are too many to be told."""
        self._now = by_datagrams
        if self._timer is None:
            self._timer = self._clock.callLater(_SETTLED_SECONDS, self._settle)
        else:
            self._timer.reset(_SETTLED_SECONDS)

    def stop(self) -> None:
        """There is no connection any more: what was to be told is not."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _settle(self) -> None:
        self._timer = None
        if self._now is not self._told:
            self._told = self._now
            self._tell(_TOLD[self._now])
