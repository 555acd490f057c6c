"""A command line that runs against the execution service of the client's tests, and what is around it."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred

from sockserv.cli.complaints import complaint_about
from sockserv.cli.exits import EndedWithStatus
from sockserv.cli.options import Options
from sockserv.cli.session import Work
from sockserv.client import Client
from sockserv.testing import Link, MemoryServer
from tests.cli.fakes import FakeTerminal, Pieces, Signals, Written, invoke, session_with, work_of
from tests.client.execution.fake_exec import FakeExecution


@attrs.define
class Run:
    """A command that runs, and what is around it."""

    memory: MemoryServer
    service: FakeExecution = attrs.field(factory=FakeExecution)
    output: Written = attrs.field(factory=Written)
    errors: Written = attrs.field(factory=Written)
    signals: Signals = attrs.field(factory=Signals)
    terminal: FakeTerminal = attrs.field(factory=FakeTerminal)
    link: Link = attrs.field(factory=Link)
    is_link_used: bool = False
    connect: Callable[[], Deferred[Client]] | None = None
    servers: Callable[[str], Deferred[Client]] | None = None

    def status(self, *arguments: str, pieces: Pieces | None = None) -> int:
        """Run a command line to its end; how it ends."""

        def run(options: Options, work: Work) -> None:
            self.memory.run(self._start(options, work, pieces))

        result = invoke(arguments, run=run, terminal=self.terminal)
        if isinstance(result.exception, EndedWithStatus):
            complaint = complaint_about(result.exception)
            self.errors.content += complaint.line(as_json=False)
            return complaint.status
        if result.exception is not None:
            raise result.exception
        status = result.return_value
        assert status is None or isinstance(status, int)
        return status or 0

    def start(self, *arguments: str, pieces: Pieces | None = None) -> Deferred[None]:
        """Begin one; it goes on with the memory server's turns."""
        running = self._start(*work_of(arguments, terminal=self.terminal), pieces)
        self.memory.flush()
        return running

    def _start(self, options: Options, work: Work, pieces: Pieces | None) -> Deferred[None]:
        if self.is_link_used:
            self.link = Link()
        self.is_link_used = True
        session = session_with(
            self.memory,
            pieces=pieces,
            output=self.output,
            errors=self.errors,
            signals=self.signals,
            terminal=self.terminal,
            link=self.link,
            connect=self.connect,
            servers=self.servers,
        )
        return Deferred.fromCoroutine(work(attrs.evolve(session, options=options)))


def never() -> Pieces:
    """A standard input of which nothing comes."""
    return Pieces([], end=None)
