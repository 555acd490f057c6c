"""A bar that shows how far a transfer has come, on a terminal."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from sockserv.cli.exits import EndedBySignal
from sockserv.cli.output import printable
from sockserv.cli.stdio import StreamError
from sockserv.client.files import State, Transfer

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from sockserv.cli.session import Session

__all__ = ["Display"]

_SECONDS: Final = 0.1
_NAME_COLUMNS: Final = 30


class _Console(Console):
    """A console that never hides the cursor: who ends the process in a hurry would have to live without."""

    def show_cursor(self, show: bool = True) -> bool:
        """Leave it as it is."""
        return False


class Display:
    """Shows transfers of `size_bytes` and `steps` in all, from `start` to `end`."""

    def __init__(self, session: Session, *, size_bytes: int | None, steps: int) -> None:
        self._session = session
        self._steps = steps
        self._text = io.StringIO()
        self._bar = Progress(
            TextColumn("{task.fields[count]}"),
            _NameColumn(),
            BarColumn(bar_width=None),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=_Console(file=self._text, force_terminal=True, markup=False, highlight=False),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            expand=True,
            get_time=session.now,
        )
        self._task = self._bar.add_task("", total=size_bytes, count="", file="")
        self._known: dict[str, int] = {}
        self._ended_bytes = 0
        self._ended = 0
        self._writing: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Show the bar."""
        self._bar.start()
        self._refresh()

    def update(self, transfer: Transfer) -> None:
        """One of the transfers has come further."""
        path = transfer.step.path
        if transfer.state is State.RUNNING:
            self._known[path] = transfer.done_bytes
        else:
            self._known.pop(path, None)
            # What has failed is over, too.
            self._ended_bytes += transfer.step.size
            self._ended += 1
        self._bar.update(
            self._task,
            completed=self._ended_bytes + sum(self._known.values()),
            count=f"{self._ended}/{self._steps}" if self._steps > 1 else "",
            file=path,
        )

    async def end(self) -> None:
        """Take the bar away."""
        if self._timer is not None:
            self._timer.cancel()
        self._bar.stop()
        if self._writing is not None:
            await self._writing
        self._write()
        if self._writing is not None:
            await self._writing

    def _refresh(self) -> None:
        self._timer = self._session.clock.callLater(_SECONDS, self._refresh)
        # A terminal that takes nothing, as after Ctrl-S, is not to be filled.
        if self._writing is None:
            self._bar.refresh()
            self._write()

    def _write(self) -> None:
        text = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        if text:
            self._writing = Deferred.fromCoroutine(self._write_out(text.encode("utf-8", "replace")))
            self._writing.addBoth(self._written)

    async def _write_out(self, data: bytes) -> None:
        await self._session.errors.write(data)
        await self._session.errors.flush()

    def _written(self, result: Failure | None) -> None:
        self._writing = None
        if result is not None:
            result.trap(StreamError, EndedBySignal)


class _NameColumn(TextColumn):
    """The name of the file, as it can be shown; the end of it where it is long."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        """The name."""
        text = Text(printable(task.fields["file"]))
        if text.cell_len > _NAME_COLUMNS:
            while text.cell_len >= _NAME_COLUMNS:
                text = text[1:]
            text = Text("…") + text
        return text
