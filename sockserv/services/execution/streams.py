"""What a job reads and writes, between its caller and its child.

What the child writes is read only as fast as the caller takes it: a caller that does not read makes the child wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockserv.errors import SockservError
from sockserv.execution.grace import LAST_BYTES, SILENT_SECONDS
from sockserv.services.api import Call
from sockserv.services.execution.awaited import Awaited
from sockserv.services.execution.child import Sink, Source

__all__ = ["Inflow", "Outflow"]


class Inflow:
    """Gives the request's body to a child, if that `is_wanted`. `is_complete`: the child has been told of its end."""

    _log = Logger()

    def __init__(self, call: Call[Any], sink: Sink, *, is_wanted: bool) -> None:
        self.is_complete = False
        self._sink = sink
        self._running: Deferred[None] | None = None
        if not is_wanted or call.whole_body == b"":
            self._complete()
        else:
            self._running = Deferred.fromCoroutine(self._feed(call))
            self._running.addErrback(lambda failure: self._log.failure("input failed", failure))

    def stop(self) -> None:
        """Give it no more: it has ended."""
        if self._running is not None:
            self._running.cancel()
        self._sink.close()

    async def _feed(self, call: Call[Any]) -> None:
        try:
            async for piece in call.body:
                if not await self._sink.write(piece):
                    # The rest is not taken from the caller, who learns from the outcome that it was not wanted.
                    return
        except (SockservError, CancelledError):
            # It broke off. That is no end which the child should see.
            return
        self._complete()

    def _complete(self) -> None:
        self.is_complete = True
        self._sink.close()


class Outflow:
    """Sends what a child writes to the caller.

    `sources` are by the number of the stream in the answer. Of all of them together no more than `limit_bytes` are
    sent; `on_excess` is called when there was more. `sent_bytes` is by stream; `was_cut` whether anything was left out
    for that, or because of `discard`.
    """

    def __init__(
        self,
        call: Call[Any],
        sources: Mapping[int, Source],
        *,
        limit_bytes: int | None,
        on_excess: Callable[[], None],
    ) -> None:
        self.sent_bytes = dict.fromkeys(sources, 0)
        self.was_cut = False
        self._call = call
        self._room = limit_bytes
        self._on_excess = on_excess
        self._is_discarding = False
        self._ended: Awaited[None] = Awaited()
        self._flows = {stream: _Flow(source) for stream, source in sources.items()}
        for stream, flow in self._flows.items():
            flow.running = Deferred.fromCoroutine(self._follow(stream, flow))

    def discard(self) -> None:
        """Send no more: nobody takes it. The child can still write."""
        self._is_discarding = True
        for flow in self._flows.values():
            if flow.is_sending and flow.running is not None:
                flow.running.cancel()

    async def finish(self, *, may_cut: Callable[[], bool]) -> None:
        """Send what is left when the tree has gone; `may_cut` says whether a caller that takes
        nothing is waited for.
        """
        if self._ended.is_known:
            return await self._ended.wait()
        for flow in self._flows.values():
            flow.last_bytes = 0
        timer = _Ticks(self._call, lambda: self._look_after(may_cut()))
        try:
            await self._ended.wait()
        finally:
            timer.stop()

    def _look_after(self, may_cut: bool) -> None:
        """Some time has passed since the tree has gone, or since this was called."""
        for flow in self._flows.values():
            if not flow.is_sending or flow.last_bytes > LAST_BYTES:
                flow.source.close()
        is_stuck = all(not flow.is_sending or not flow.has_moved for flow in self._flows.values())
        for flow in self._flows.values():
            flow.has_moved = False
        if may_cut and is_stuck:
            self.discard()

    async def _follow(self, stream: int, flow: _Flow) -> None:
        try:
            await self._forward(stream, flow)
        except Exception:
            # Nobody may take what has come for all that was written: the job fails with this.
            self._ended.tell(Failure())
            flow.source.close()
        flow.has_ended = True
        if all(each.has_ended for each in self._flows.values()):
            self._ended.tell(None)

    async def _forward(self, stream: int, flow: _Flow) -> None:
        while data := await flow.source.read():
            flow.has_moved = True
            flow.last_bytes += len(data)
            piece = self._allowed(data)
            if piece:
                self.sent_bytes[stream] += len(piece)
                flow.is_sending = True
                try:
                    await self._call.send(piece, stream=stream)
                except (SockservError, CancelledError):
                    self._is_discarding = True
                finally:
                    flow.is_sending = False

    def _allowed(self, data: bytes) -> bytes:
        """What may be sent of this."""
        if self._is_discarding:
            self.was_cut = True
            return b""
        if self._room is None:
            return data
        if len(data) > self._room:
            data = data[: self._room]
            self._is_discarding = self.was_cut = True
            self._on_excess()
        self._room -= len(data)
        return data


class _Flow:
    """One stream. `last_bytes` counts what was read since the tree has gone."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.running: Deferred[None] | None = None
        self.is_sending = False
        self.has_ended = False
        self.has_moved = False
        self.last_bytes = 0


class _Ticks:
    """Calls a function now and then."""

    def __init__(self, call: Call[Any], function: Callable[[], None]) -> None:
        self._clock = call.clock
        self._function = function
        self._timer: IDelayedCall | None = self._clock.callLater(SILENT_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = self._clock.callLater(SILENT_SECONDS, self._tick)
        self._function()

    def stop(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
