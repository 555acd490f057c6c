"""A child that the guardian has started, as the daemon sees it."""

from __future__ import annotations

import termios
from collections.abc import Callable
from contextlib import suppress

from twisted.internet.defer import Deferred

from sockserv.services.execution.child import Ending
from sockserv.services.execution.guardian.descriptors import DescriptorSink, DescriptorSource
from sockserv.services.execution.guardian.pipes import Streams

__all__ = ["GuardedChild"]


class GuardedChild:
    """See `Child`. `send_signal` gives a signal to all of its tree."""

    def __init__(self, pid: int, streams: Streams, *, send_signal: Callable[[int], None]) -> None:
        self._pid = pid
        self._streams = streams
        self._send_signal = send_signal
        self._is_gone = False
        self._ended: Deferred[Ending] = Deferred()
        self._gone: Deferred[None] = Deferred()

    @property
    def pid(self) -> int:
        """See `Child`; 0 when it is not known, because what would have told was lost."""
        return self._pid

    @property
    def stdin(self) -> DescriptorSink:
        """See `Child`."""
        return self._streams.stdin

    @property
    def stdout(self) -> DescriptorSource:
        """See `Child`."""
        return self._streams.stdout

    @property
    def stderr(self) -> DescriptorSource:
        """See `Child`."""
        return self._streams.stderr

    @property
    def ended(self) -> Deferred[Ending]:
        """See `Child`."""
        return self._ended

    @property
    def gone(self) -> Deferred[None]:
        """See `Child`."""
        return self._gone

    def signal(self, number: int) -> None:
        """See `Child`."""
        if not self._is_gone:
            self._send_signal(number)

    def resize(self, columns: int, rows: int) -> None:
        """See `Child`."""
        with suppress(termios.error, OSError):
            self._streams.resize(columns, rows)

    def close(self) -> None:
        """Close all streams: nobody will use them."""
        self._streams.close()

    def on_ended(self, ending: Ending) -> None:
        """Its first process has ended."""
        self._ended.callback(ending)

    def on_gone(self) -> None:
        """Nothing is left of it. What it has written is still to be read."""
        self._is_gone = True
        self._gone.callback(None)
