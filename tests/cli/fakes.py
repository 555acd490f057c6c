"""Stand-ins for what surrounds a command's work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred

from sockserv.cli.app import sockserv
from sockserv.cli.options import App, Options
from sockserv.cli.session import Session, Work
from sockserv.client import Client
from sockserv.client.profiles import Profile, Profiles
from sockserv.testing import Link, MemoryServer


class Pieces:
    """An input that gives pieces, then what ends it: nothing for its end, an error, or None for never."""

    def __init__(self, pieces: Iterable[bytes], end: Exception | bytes | None = b"") -> None:
        self._pieces = iter(pieces)
        self._end = end

    async def read(self) -> bytes:
        for piece in self._pieces:
            return piece
        if isinstance(self._end, Exception):
            raise self._end
        if self._end is None:
            await Deferred()
        return self._end or b""


class Written:
    """An output that remembers, until `failure` is raised after so many bytes."""

    def __init__(self, failure: Exception | None = None, *, after_bytes: int = 0) -> None:
        self.content = b""
        self._failure = failure
        self._after_bytes = after_bytes

    async def write(self, data: bytes) -> None:
        self.content += data
        if self._failure is not None and len(self.content) > self._after_bytes:
            raise self._failure

    async def flush(self) -> None:
        pass


@attrs.define
class FakeTerminal:
    """Which streams are terminals, and what somebody types there; without it, nobody is to be asked."""

    streams: set[int] = attrs.field(factory=set)
    typed: list[str | Exception] = attrs.field(factory=list)
    questions: list[str] = attrs.field(factory=list)

    type: str = "vt220"
    size: tuple[int, int] = (100, 30)
    modes: list[str] = attrs.field(factory=list)

    def has(self, number: int) -> bool:
        return number in self.streams

    @contextmanager
    def raw(self) -> Iterator[None]:
        self.modes.append("raw")
        try:
            yield
        finally:
            self.modes.append("restored")

    def ask_secret(self, question: str) -> str:
        self.questions.append(question)
        answer = self.typed.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Signals:
    """The signals that a command takes care of itself, and a way to send one."""

    def __init__(self) -> None:
        self.handlers: dict[int, Callable[[], None]] = {}

    def on_signal(self, number: int, function: Callable[[], None] | None) -> None:
        if function is None:
            self.handlers.pop(number, None)
        else:
            self.handlers[number] = function

    def send(self, number: int) -> None:
        self.handlers[number]()


def session_with(
    memory: MemoryServer,
    *,
    pieces: Pieces | None = None,
    output: Written | None = None,
    errors: Written | None = None,
    link: Link | None = None,
    connect: Callable[[], Deferred[Client]] | None = None,
    profiles: Profiles | None = None,
    terminal: FakeTerminal | None = None,
    signals: Signals | None = None,
    servers: Callable[[str], Deferred[Client]] | None = None,
    **options: Any,
) -> Session:
    """A session whose daemon is in memory; a password counts as a token there, too.

    All profiles lead there, and all names, without `servers`.
    """

    def connect_to(profile: Profile, password: str | None) -> Deferred[Client]:
        return memory.start_connecting(token=profile.url.token or password or "", link=link)

    return Session(
        options=Options(**options),
        clock=memory.clock,
        now=memory.clock.seconds,
        connect=connect or (lambda: memory.start_connecting(link=link)),
        connect_to=connect_to,
        connect_by_name=servers or (lambda name: memory.start_connecting(link=link)),
        on_signal=(signals or Signals()).on_signal,
        profiles=profiles or Profiles(Path("/nowhere")),
        terminal=terminal or FakeTerminal(),
        input=pieces or Pieces([]),
        output=output or Written(),
        errors=errors or Written(),
    )


def assert_hung_up(memory: MemoryServer) -> None:
    """The command has closed its connection, and the server has heard of it."""
    memory.advance(1.0)
    assert not memory.network.links


def work_of(
    arguments: Sequence[str], *, terminal: FakeTerminal | None = None
) -> tuple[Options, Work]:
    """What a command line comes to: the options, and the work that it would do."""
    asked: list[tuple[Options, Work]] = []
    result = invoke(
        arguments, run=lambda options, work: asked.append((options, work)), terminal=terminal
    )
    if result.exception is not None:
        raise result.exception
    (one,) = asked
    return one


def invoke(
    arguments: Sequence[str],
    *,
    run: Callable[[Options, Work], None] | None = None,
    environ: dict[str, str] | None = None,
    terminal: FakeTerminal | None = None,
) -> Result:
    """Parse a command line; without `run`, it must not come to any work."""

    def refuse(options: Options, work: Work) -> None:
        raise AssertionError("this command line does work")

    names = ("SERVER", "STATE", "TOKEN_FILE", "CONFIG")
    variables: dict[str, str | None] = {f"SOCKSERV_{name}": None for name in names}
    return CliRunner().invoke(
        sockserv,
        [*arguments],
        obj=App(run=run or refuse, terminal=terminal or FakeTerminal()),
        env=variables | (environ or {}),
        standalone_mode=False,
    )
