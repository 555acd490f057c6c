"""A remote job with the standard streams of this process: what `exec`, `shell` and `attach` have in common."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from sockserv.cli.escape import EscapeFilter
from sockserv.cli.interrupts import Interrupts, forget
from sockserv.cli.outcomes import say_how_it_ended, status_of_outcome
from sockserv.cli.pouring import Pouring
from sockserv.cli.stdio import StreamClosed
from sockserv.errors import SockservError
from sockserv.execution.outcome import Outcome, OutcomeKind

if TYPE_CHECKING:
    from sockserv.cli.session import Session
    from sockserv.client.execution import RemoteJob

__all__ = ["follow"]


async def follow(
    session: Session,
    begin: Callable[[], Awaitable[RemoteJob]],
    *,
    reads_input: bool,
    has_terminal: bool = False,
    is_in_charge: bool = True,
    is_kept: bool = False,
) -> int:
    """`begin` a job, and be in its place until it has ended; the exit status.

    `reads_input` says that standard input is for it. One that `has_terminal` gets ours, if standard input is one.
    Ctrl-C is for the job, if we are in charge of it, and else for us. Raises what `begin` raises, what
    `RemoteJob.outcome` fails with, and what goes wrong with the standard streams.
    """
    is_raw = has_terminal and reads_input and session.terminal.has(0)
    with session.terminal.raw() if is_raw else nullcontext():
        job = await begin()
        if is_raw and is_kept:
            # It has the size that some other window had.
            forget(job.resize(*session.terminal.size))
        foreground = _Foreground(session, job, reads_input=reads_input, is_raw=is_raw)
        outcome = await foreground.run(is_in_charge=is_in_charge)
    is_lost = outcome.kind is OutcomeKind.LOST
    writing = "--stdin " if is_raw else ""
    advice = f"If it goes on: sockserv attach {writing}{job.name}" if is_kept and is_lost else ""
    is_on_a_line = foreground.is_on_a_line and session.terminal.has(2)
    await say_how_it_ended(session, outcome, advice=advice, is_on_a_line=is_on_a_line)
    return status_of_outcome(outcome)


class _Foreground:
    """Connects a job to the standard streams.

    With `is_raw` it has our terminal: every key goes to it, but for the escape, and it is told the size of the window.
    """

    def __init__(
        self, session: Session, job: RemoteJob, *, reads_input: bool, is_raw: bool
    ) -> None:
        self._session = session
        self._job = job
        self._reads_input = reads_input
        self._escape = EscapeFilter() if is_raw else None
        self._pouring = Pouring(job, session.output, session.errors, beside=self._send())
        self._interrupts = Interrupts(session, self._pouring.leave)

    @property
    def is_on_a_line(self) -> bool:
        """Whether the terminal has something on its line by now: a prompt of the job, or `^C`."""
        return self._escape is not None or self._interrupts.has_come

    async def run(self, *, is_in_charge: bool) -> Outcome:
        """Go on until the job has ended."""
        self._interrupts.add(self._job)
        with self._interrupts.caught() if is_in_charge else nullcontext(), self._window_watched():
            return await self._pouring.run()

    async def _send(self) -> None:
        """Give the job our standard input, while it takes it. Raises `StreamError`."""
        while self._reads_input and (piece := await self._read()):
            if self._escape is not None:
                piece = self._escape.feed(piece)
            if not await self._write(piece):
                return
            if self._escape is not None and self._escape.has_left:
                self._pouring.leave()
                return
        if self._escape is not None:
            await self._write(self._escape.end())
        self._job.stdin.close()

    async def _read(self) -> bytes:
        try:
            return await self._session.input.read()
        except StreamClosed:
            return b""  # which hinders no program that does not read

    async def _write(self, data: bytes) -> bool:
        """Send bytes; whether more can be sent."""
        try:
            if data:
                await self._job.stdin.write(data)
        except SockservError:
            return False  # it has ended, and the outcome says how
        return True

    @contextmanager
    def _window_watched(self) -> Iterator[None]:
        """Tell the job the size of our terminal whenever that changes."""
        if self._escape is None:
            yield
            return
        session, job = self._session, self._job
        session.on_signal(signal.SIGWINCH, lambda: forget(job.resize(*session.terminal.size)))
        try:
            yield
        finally:
            session.on_signal(signal.SIGWINCH, None)
