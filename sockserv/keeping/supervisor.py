"""The supervisor of one kept job: the process that starts it, and stays as long as it runs.

It is told by a daemon what to start, and needs no daemon after that: any number of them may come and go by the
socket in the job's folder. SIGTERM, which a machine sends to all when it goes down, ends the job by the graded stop.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

import attrs

from sockserv.execution.outcome import KillReason, Outcome
from sockserv.keeping.channels import Channels, InputQueue, read_output, resize
from sockserv.keeping.conversation import Conversation
from sockserv.keeping.folder import JobFolder
from sockserv.keeping.messages import (
    BadMessage,
    Ended,
    EndInput,
    Input,
    InputOpened,
    InputTaken,
    Kill,
    LeaveInput,
    Message,
    OpenInput,
    Order,
    Progress,
    Resize,
    Running,
    Signal,
    Watch,
)
from sockserv.keeping.record import write_outcome
from sockserv.keeping.spool import Spool
from sockserv.keeping.supervision import Supervision
from sockserv.processes.trees import Trees

__all__ = ["JobTree", "Supervisor"]

_KEY: Final = 0
"""There is one tree here."""

_SHORTEST_LOOK_SECONDS: Final = 0.02
_LONGEST_LOOK_SECONDS: Final = 1.0
_RECORDING_SECONDS: Final = 1.0
"""How long it waits before it tries again to write the outcome on a full disk."""

_FAREWELL_SECONDS: Final = 5.0
"""How long a daemon may take to hear of the outcome; after that it has to look for itself."""

_MAX_CONVERSATIONS: Final = 16
_MAX_WAIT_SECONDS: Final = 86_400.0


@attrs.frozen
class JobTree:
    """The processes of the job, and its standard input; see `Supervised`."""

    trees: Trees
    stdin: InputQueue

    @property
    def stdin_bytes(self) -> int:
        """How much it has taken."""
        return self.stdin.taken_bytes

    @property
    def has_input(self) -> bool:
        """Whether it has not seen the end of its input."""
        return self.stdin.is_open

    def signal(self, number: int) -> None:
        """Send a signal to all of them."""
        self.trees.signal(_KEY, number)

    def end_input(self) -> None:
        """Let it see the end of its input."""
        self.stdin.cut()


class Supervisor:
    """A job that runs, and whoever is connected. `wakeups` tells of signals; `listener` of daemons that come.

    `now` is a clock that never goes back.
    """

    def __init__(
        self,
        order: Order,
        folder: JobFolder,
        channels: Channels,
        pid: int,
        trees: Trees,
        spool: Spool,
        *,
        listener: socket.socket,
        wakeups: socket.socket,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._pid = pid
        self._trees = trees
        trees.add(_KEY, pid, mark=order.record.mark)
        self._spool = spool
        self._channels = channels
        self._listener = listener
        self._wakeups = wakeups
        self._now = now
        self._stdin = InputQueue(channels.stdin, is_terminal=order.record.has_terminal)
        if not order.has_input:
            self._stdin.end()
        self._conversations: dict[int, Conversation] = {}
        self._writer: Conversation | None = None
        self._look_seconds = _SHORTEST_LOOK_SECONDS
        self._supervision = Supervision(
            order.record,
            JobTree(trees, self._stdin),
            spool,
            streams=1 if channels.stderr is None else 2,
            now=now(),
            pause_seconds=order.pause_seconds,
            time_limit=order.time_limit,
        )
        self._sources: dict[int, Callable[[bytes, float], None]] = {
            channels.stdout: self._supervision.add_stdout
        }
        if channels.stderr is not None:
            self._sources[channels.stderr] = self._supervision.add_stderr
        self._outcome: Outcome | None = None

    def run(self) -> None:
        """Look after the job until it has ended, the disk has its outcome, and all who listen know it. Blocks."""
        look_at = None
        while not self._supervision.is_over:
            now = self._now()
            if self._trees.need_a_look:
                self._look_seconds = min(self._look_seconds * 1.5, _LONGEST_LOOK_SECONDS)
                look_at = min(look_at or now + self._look_seconds, now + self._look_seconds)
            else:
                self._look_seconds, look_at = _SHORTEST_LOOK_SECONDS, None
            self._wait(self._supervision.next_step_at, look_at)
            if look_at is not None and self._now() >= look_at:
                look_at = None
                self._look()
            self._supervision.advance(self._now())
            self._tell_progress()
        self._outcome = self._finish()
        self._say_farewell(self._outcome)

    def _finish(self) -> Outcome:
        """Let go of everything of the job; gives its outcome."""
        for source in self._sources:
            os.close(source)
        self._sources.clear()
        self._stdin.close()
        outcome = self._supervision.outcome()
        try:
            self._spool.close()
        except OSError as error:
            message = f"what it has written may be lost when the machine stops: {error.strerror}"
            return attrs.evolve(outcome, message=outcome.message or message)
        return outcome

    def kill(self) -> None:
        """End all processes of the job at once: nobody will look after them."""
        self._trees.signal(_KEY, signal.SIGKILL)

    def _say_farewell(self, outcome: Outcome) -> None:
        is_recorded = _record(self._folder, outcome)
        if is_recorded:
            # From now on nobody has anything to do here: whoever hears of the end may remove it all.
            self._stop_listening()
        for conversation in self._conversations.values():
            conversation.send(Ended(outcome))
        while not is_recorded:
            self._wait(self._now() + _RECORDING_SECONDS)
            is_recorded = _record(self._folder, outcome)
        self._stop_listening()
        deadline = self._now() + _FAREWELL_SECONDS
        while self._now() < deadline and any(
            conversation.has_unsent for conversation in self._conversations.values()
        ):
            self._wait(deadline)

    def close(self) -> None:
        """Let go of whoever is connected."""
        for conversation in self._conversations.values():
            conversation.close()

    def _stop_listening(self) -> None:
        with suppress(OSError):
            self._folder.control.unlink()

    # What happens

    def _wait(self, *until: float | None) -> None:
        """Wait until something happens, or it is time; then do what there is to do."""
        poll = select.poll()
        handlers: dict[int, Callable[[], None]] = {}

        def expect(file: int, events: int, handler: Callable[[], None]) -> None:
            poll.register(file, events)
            handlers[file] = handler

        expect(self._wakeups.fileno(), select.POLLIN, self._take_wakeups)
        expect(self._listener.fileno(), select.POLLIN, self._accept)
        for source in self._sources:
            expect(source, select.POLLIN, partial(self._read, source))
        if self._stdin.has_work:
            expect(self._stdin.descriptor, select.POLLOUT, self._pass_on_input)
        for file, conversation in self._conversations.items():
            events = select.POLLIN | (select.POLLOUT if conversation.has_unsent else 0)
            expect(file, events, partial(self._converse, conversation))
        moments = [moment for moment in until if moment is not None]
        timeout = max(0.0, min(moments) - self._now()) if moments else None
        if timeout is not None:
            # Who wakes too early waits again; poll(2) knows no longer times.
            timeout = min(timeout, _MAX_WAIT_SECONDS) * 1000
        for file, _ in poll.poll(timeout):
            handlers[file]()
        self._drop_those_that_are_over()

    def _take_wakeups(self) -> None:
        signals = b""
        with suppress(BlockingIOError):
            signals = self._wakeups.recv(4096)
        if signal.SIGTERM in signals:
            message = "the process that looks after the job was told to end, as when the machine goes down"
            self._supervision.stop(KillReason.SHUTDOWN, now=self._now(), message=message)
        self._look()

    def _look(self) -> None:
        """See which processes have ended."""
        for _, reaped in self._trees.reap():
            self._supervision.note_end(reaped, now=self._now())
        if self._trees.settle():
            self._supervision.note_gone(now=self._now())

    def _read(self, source: int) -> None:
        data = read_output(source)
        if data:
            self._sources[source](data, self._now())
        elif data is not None:
            del self._sources[source]
            os.close(source)
            self._supervision.end_stream()

    def _tell_progress(self) -> None:
        progress = self._progress()
        for conversation in self._conversations.values():
            conversation.tell(progress)

    def _progress(self) -> Progress:
        spool = self._spool
        return Progress(self._stdin.given_bytes, spool.stdout_bytes, spool.stderr_bytes)

    # Daemons

    def join(self, conversation: Conversation) -> None:
        """Somebody is connected."""
        self._conversations[conversation.connection.fileno()] = conversation
        if self._outcome is not None:
            conversation.send(Ended(self._outcome))
            return
        progress = self._progress()
        conversation.send(
            Running(self._pid, progress.stdin_bytes, progress.stdout_bytes, progress.stderr_bytes)
        )

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        if len(self._conversations) >= _MAX_CONVERSATIONS:
            connection.close()
            return
        self.join(Conversation(connection))

    def _converse(self, conversation: Conversation) -> None:
        conversation.flush()
        try:
            for message in conversation.receive():
                self._answer(conversation, message)
        except BadMessage:
            conversation.is_over = True

    def _drop_those_that_are_over(self) -> None:
        for file, conversation in [*self._conversations.items()]:
            if conversation.is_over:
                if self._writer is conversation:
                    self._writer = None
                del self._conversations[file]
                conversation.close()

    def _answer(self, conversation: Conversation, message: Message) -> None:
        now = self._now()
        match message:
            case Watch():
                conversation.watch(message, self._progress())
            case Signal():
                self._trees.signal(_KEY, message.number)
            case Resize():
                if self._channels.stdout in self._sources:
                    resize(self._channels.stdout, message.columns, message.rows)
            case Kill():
                self._supervision.stop(message.reason, now=now, force=message.force)
            case OpenInput():
                self._open_input(conversation, message)
            case Input() if self._writer is conversation:
                self._stdin.give(message.data)
                self._pass_on_input()
            case EndInput() if self._writer is conversation:
                self._stdin.end()
            case LeaveInput() if self._writer is conversation:
                self._writer = None

    # Standard input

    def _open_input(self, conversation: Conversation, message: OpenInput) -> None:
        """The newest one may write, if it knows where to begin: a daemon that was there before it is gone by now."""
        next_offset = self._stdin.next_offset
        is_open = message.offset == next_offset
        if is_open:
            self._writer = conversation
        conversation.send(InputTaken(self._stdin.taken_bytes))
        conversation.send(InputOpened(is_open, next_offset, message.number))

    def _pass_on_input(self) -> None:
        taken = self._stdin.taken_bytes
        self._stdin.pass_on()
        has_changed = self._stdin.taken_bytes != taken or not self._stdin.is_open
        if self._writer is not None and has_changed:
            self._writer.send(InputTaken(self._stdin.taken_bytes, self._stdin.is_open))


def _record(folder: JobFolder, outcome: Outcome) -> bool:
    """Write the outcome down; False when there is no room for it. A folder that was removed wants to know nothing."""
    try:
        try:
            write_outcome(folder, outcome)
        except FileNotFoundError:
            raise
        except OSError:
            folder.free_reserve()
            write_outcome(folder, outcome)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    folder.free_reserve()
    return True
