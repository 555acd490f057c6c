"""What both sides of a running call do: they send bytes, wait until these have gone, and have a deadline."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from sockserv.errors import FileBroken
from sockserv.net.bulk import OpenFile, send_file
from sockserv.net.lending import LentMemory, send_memory
from sockserv.wire.calls import CallState, FileSpan

if TYPE_CHECKING:
    from sockserv.net.peer import Peer

__all__ = ["RunningCall"]

_MIN_PIECE_BYTES: Final = 256
"""A piece that waits to be sent counts for no less: its message and a view of it take memory, too."""


class RunningCall(CallState, eq=False):
    """What both sides of a call can do; `peer` is the connection that it runs on, `file_bytes` what
    was sent of files.
    """

    peer: Peer = None  # type: ignore[assignment]  # set before anybody sees the call
    file_bytes: int = 0
    _drained: list[Deferred[None]] | None = None
    _timer: IDelayedCall | None = None

    async def in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a blocking function in a thread, and wait for what it returns."""
        in_thread = self.peer.settings.in_thread
        assert in_thread is not None, "whoever has blocking work has threads for it"
        return await in_thread(function, *args)

    async def _send(self, data: bytes, stream: int) -> None:
        """Hand bytes to the connection; waits while too many of this call are unsent."""
        self.peer.send(self, data, stream=stream)
        await self._make_room()

    async def _make_room(self) -> None:
        """Wait while too many bytes of this call are unsent."""
        limit = self.peer.settings.limits.send_buffer_bytes
        while self._unsent_cost > limit and not self.is_ended:
            await self._drain()

    async def _drain(self) -> None:
        """Wait until some queued bytes have gone."""
        waiting: Deferred[None] = Deferred()
        if self._drained is None:
            self._drained = []
        self._drained.append(waiting)
        await waiting

    async def send_file(self, file: int, *, offset: int = 0, count: int | None = None) -> int:
        """Send `count` bytes (None: all) of the open file `file` from `offset` on.

        Returns how many there were: fewer than `count` when the file ends before. Raises what `send` raises,
        `OSError` when the file cannot be read, and `FileBroken` when it became shorter behind what was
        announced of it: then the call must not end well. When this has ended, in whatever way, `file` may be closed.
        """
        return await send_file(self, file, offset, count)

    async def send_memory(self, memory: memoryview) -> None:
        """Send the next bytes of the body from memory, of any size.

        When this returns, the transport has taken all of them, and the memory may be used for others. Raises what
        `send` raises; then, and when it is cancelled, the peer may get whatever the memory has by now, in a call that
        does not end well.
        """
        await send_memory(self, memory)

    async def send_span(self, span: FileSpan) -> None:
        """Send bytes of a file that is open for this call, and waits as `send` does."""
        self._check_open()
        self._send_held()
        file: OpenFile | LentMemory = span.file
        file.unsent_bytes += span.size
        self.peer.send(self, span)
        try:
            await self._make_room()
            self._check_open()
            self._check_file(file)
        finally:
            # Somebody may keep the traceback of what was raised, and that must not keep the file open.
            del span, file

    async def wait_for_file(self, file: OpenFile | LentMemory) -> None:
        """Wait until the socket has taken all of the file's bytes; raises `FileBroken` if it gave others."""
        try:
            while file.unsent_bytes and not file.is_broken:
                self._check_open()
                await self._drain()
            self._check_file(file)
        finally:
            del file  # as above

    def on_file_news(self, file: OpenFile | LentMemory) -> None:
        """All of a file's bytes have gone, or there are none for what was announced."""
        if file.is_broken:
            self.peer.connection.drop_unsent(self)
        else:
            self.peer.connection.note_drained(self)

    def _check_file(self, file: OpenFile | LentMemory) -> None:
        if file.is_broken:
            raise FileBroken("a file became shorter, or unreadable, while it was sent")

    async def send(self, data: bytes, *, stream: int = 0) -> None:
        """Send the next bytes of the body, of any size; waits while the peer takes no more."""
        raise NotImplementedError

    def _check_open(self) -> None:
        raise NotImplementedError

    def _send_held(self) -> None:
        """Nothing is held back."""

    @property
    def held_bytes(self) -> int:
        """How much of it is in memory: what has come and waits to be taken, and what waits to be sent."""
        held = self.waiting_bytes
        if self.queue:
            held += sum(len(one.body) for one in self.queue if one.body.__class__ is not FileSpan)
        return held

    @property
    def waiting_bytes(self) -> int:
        """How much of the peer's body has come and was not taken."""
        raise NotImplementedError

    @property
    def _unsent_cost(self) -> int:
        """What waits to be sent, in bytes; of tiny pieces it is not their bytes that count."""
        return max(self.queued_bytes, _MIN_PIECE_BYTES * len(self.queue or ()))

    def on_drained(self) -> None:
        """Some queued bytes have gone; lets those go on who wait for it."""
        if self._drained and self._unsent_cost * 2 <= self.peer.settings.limits.send_buffer_bytes:
            self._wake_senders()

    def _wake_senders(self) -> None:
        drained, self._drained = self._drained, None
        for waiting in drained or ():
            if not waiting.called:
                waiting.callback(None)

    def _start_timer(self, seconds: float, expire: Callable[[], None]) -> None:
        self._timer = self.peer.settings.clock.callLater(seconds, expire)

    def stop_timer(self) -> None:
        """The call has ended: its deadline means nothing any more."""
        timer = self._timer
        if timer is not None:
            self._timer = None
            if timer.active():
                timer.cancel()
