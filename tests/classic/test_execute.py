"""The tutorial's remote commands, before a service that plays the shell."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, fail, maybeDeferred

from sockserv.classic import spool
from sockserv.classic.execute import MAX_COMMAND_BYTES, Commands, json_heading, low_heading
from sockserv.execution.arguments import STANDARD_ERROR, STANDARD_OUTPUT, RunArguments
from sockserv.execution.errors import Refused
from sockserv.execution.outcome import KillReason, Outcome, OutcomeKind
from sockserv.services import Call, Service, operation
from sockserv.testing import Link
from tests.classic.talking import OldClient, Talk


class Shell(Service):
    """Answers each command with what `answers` has for it: two streams, and how it ends."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[bytes, bytes, dict[str, Any]]] = {}
        self.commands: list[RunArguments] = []
        self.texts: list[str] = []
        self.hanging = 0

    @operation("exec.run", args=RunArguments, permission="exec")
    async def run(self, call: Call[RunArguments]) -> Outcome:
        self.commands.append(call.args)
        text = call.args.argv[0] if call.args.argv else await self._script(call)
        self.texts.append(text)
        if text == "hang":
            self.hanging += 1
            try:
                await Deferred()
            finally:
                self.hanging -= 1
        if text == "forbidden":
            raise Refused("no rule allows it", details={"rule": "shell"})
        stdout, stderr, ending = self.answers.get(text, (text.encode(), b"", {}))
        for stream, data in ((STANDARD_ERROR, stderr), (STANDARD_OUTPUT, stdout)):
            for start in range(0, len(data), 60_000):
                await call.send(data[start : start + 60_000], stream=stream)
        outcome = Outcome(
            kind=OutcomeKind.EXITED, code=0, stdout_bytes=len(stdout), stderr_bytes=len(stderr)
        )
        return attrs.evolve(outcome, **ending)

    async def _script(self, call: Call[RunArguments]) -> str:
        """A command that was too long for an argument: it may not read itself."""
        script = (await call.body.read(max_bytes=1 << 20)).decode()
        assert script.startswith("{\n")
        assert script.endswith("\n} </dev/null\n")
        return script[2:-14]


def at_once(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    """What a thread would do, without one."""
    return maybeDeferred(function, *args)


def dialect(**settings: Any) -> Commands:
    commands = Commands(heading=low_heading, encoding="gbk", transcode=False, in_thread=at_once)
    return attrs.evolve(commands, **settings)


@pytest.fixture
def shell() -> Shell:
    return Shell()


@pytest.fixture
def talk(shell: Shell) -> Iterator[Talk]:
    with Talk(dialect(), [shell]) as talk:
        yield talk


def low(answer: bytes) -> bytes:
    """An answer, taken as the old client did."""
    (size,) = struct.unpack("<i", answer[:4])
    assert len(answer) == 4 + size
    return answer[4:]


def in_json(answer: bytes) -> tuple[dict[str, Any], bytes]:
    (size,) = struct.unpack("<i", answer[:4])
    header = json.loads(answer[4 : 4 + size])
    return header, answer[4 + size :]


def test_one_command_after_the_other(talk: Talk, shell: Shell) -> None:
    shell.answers["ls ; abcd"] = b"a\nb\n", b"sh: abcd: not found\n", {"code": 127}
    client = talk.connect()
    assert low(talk.ask(client, b"ls ; abcd")) == b"a\nb\nsh: abcd: not found\n"
    assert low(talk.ask(client, b"pwd")) == b"pwd"
    assert all(command.shell for command in shell.commands)
    assert not client.is_over


def test_a_command_that_says_nothing(talk: Talk, shell: Shell) -> None:
    shell.answers["true"] = b"", b"", {}
    assert talk.ask(talk.connect(), b"true") == bytes(4)


def test_a_header_in_json(shell: Shell) -> None:
    shell.answers["both"] = b"out", b"err", {}
    with Talk(dialect(heading=json_heading), [shell]) as talk:
        header, body = in_json(talk.ask(talk.connect(), b"both"))
    assert header == {
        "filename": "output",
        "md5": hashlib.md5(b"outerr").hexdigest(),
        "total_size": 6,
    }
    assert body == b"outerr"


@pytest.mark.parametrize("size", [0, 1, spool._MEMORY_BYTES, spool._MEMORY_BYTES + 1, 3_000_000])
def test_answers_of_any_size(talk: Talk, shell: Shell, size: int) -> None:
    shell.answers["large"] = bytes(size), b"x" * size, {}
    assert low(talk.ask(talk.connect(), b"large")) == bytes(size) + b"x" * size


class TestText:
    def test_gbk(self, talk: Talk, shell: Shell) -> None:
        assert low(talk.ask(talk.connect(), "echo 你好".encode("gbk"))) == "echo 你好".encode()

    def test_translated(self, shell: Shell) -> None:
        shell.answers["两"] = "输出😀".encode(), "错".encode() * 30_000, {}
        with Talk(dialect(transcode=True), [shell]) as talk:
            answer = low(talk.ask(talk.connect(), "两".encode("gbk")))
        assert answer.decode("gbk") == "输出?" + "错" * 30_000

    def test_what_is_no_text(self, talk: Talk, shell: Shell) -> None:
        client = talk.connect()
        assert low(talk.ask(client, b"\xff\xff")) == b"sockserv: the command is no text in gbk\n"
        answer = low(talk.ask(client, b"\x16\x03\x01\0\nreboot\n"))
        assert answer == b"sockserv: the command has a NUL in it, and is no text\n"
        assert low(talk.ask(client, b"ls")) == b"ls"
        assert len(shell.commands) == 1


class TestHowItEnds:
    @pytest.mark.parametrize(
        ("ending", "said"),
        [
            ({"code": 3}, ""),
            (
                {"kind": OutcomeKind.KILLED, "reason": KillReason.TIMEOUT},
                "sockserv: killed(timeout)\n",
            ),
            ({"kind": OutcomeKind.SIGNALLED, "signal": "SEGV"}, "sockserv: signalled(SEGV)\n"),
        ],
    )
    def test_behind_the_answer(
        self, talk: Talk, shell: Shell, ending: dict[str, Any], said: str
    ) -> None:
        shell.answers["ends"] = b"out\n", b"err\n", ending
        assert low(talk.ask(talk.connect(), b"ends")).decode() == "out\nerr\n" + said

    def test_too_much(self, talk: Talk, shell: Shell) -> None:
        ending = {"kind": OutcomeKind.KILLED, "reason": KillReason.OUTPUT_LIMIT}
        shell.answers["ends"] = b"a part of it", b"", ending
        client = talk.connect()
        assert low(talk.ask(client, b"ends")) == b"sockserv: the command has written too much\n"
        assert shell.commands[0].output_limit_bytes == 2**31 - 1

    def test_refused(self, talk: Talk) -> None:
        client = talk.connect()
        assert low(talk.ask(client, b"forbidden")) == b"sockserv: no rule allows it\n"
        assert low(talk.ask(client, b"ls")) == b"ls"

    def test_no_room(self, shell: Shell) -> None:
        def full(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
            return fail(OSError(28, "No space left on device"))

        shell.answers["large"] = bytes(1_000_000), b"", {}
        with Talk(dialect(in_thread=full), [shell]) as talk:
            client = talk.connect()
            assert b"No space left" in low(talk.ask(client, b"large"))
            assert low(talk.ask(client, b"ls")) == b"ls"


class TestWhereACommandEnds:
    """Nothing says it: what is small is whole, and what is larger is waited for a moment."""

    @pytest.mark.parametrize("size", [535, 536, 1460, 8192, 8193, 20_000, MAX_COMMAND_BYTES])
    def test_long_ones(self, talk: Talk, shell: Shell, size: int) -> None:
        client = talk.connect()
        command = b"x" * size
        talk.say(client, *(command[start : start + 1460] for start in range(0, size, 1460)))
        talk.memory.advance(0.1)
        assert low(client.received) == command
        assert len(shell.commands) == 1

    def test_too_long(self, talk: Talk, shell: Shell) -> None:
        client = talk.connect()
        talk.say(client, b"x" * (MAX_COMMAND_BYTES + 1))
        talk.memory.advance(0.1)
        assert client.is_over
        assert not shell.commands

    def test_what_comes_at_once_is_one(self, talk: Talk, shell: Shell) -> None:
        assert low(talk.ask(talk.connect(), b"ls;pwd")) == b"ls;pwd"
        assert len(shell.commands) == 1


def test_who_does_not_wait_for_the_answer(talk: Talk, shell: Shell) -> None:
    """The sticky packets themselves: what came while a command ran is the next one, as one."""
    link = Link()
    client = talk.connect(link)
    link.to_client.stall()
    shell.answers["first"] = bytes(8_000_000), b"", {}
    talk.say(client, b"first", b"second", b"third")
    link.to_client.resume()
    talk.memory.flush()
    talk.memory.advance(0.1)
    assert shell.texts == ["first", "secondthird"]


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_what_a_browser_sends_is_never_run(talk: Talk, shell: Shell, method: str) -> None:
    """A page that somebody on this machine looks at can have their browser send this to a port of it."""
    client = talk.connect()
    request = f"{method} /{'x' * 600} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\ntouch /tmp/here\n".encode()
    talk.say(client, request[:580], request[580:])
    talk.memory.advance(0.1)
    assert client.is_over
    assert shell.texts == []


def test_who_sends_no_more_ends_the_job(talk: Talk, shell: Shell) -> None:
    """The old client closes its connection so, and nobody can tell that from one who still reads."""
    client = talk.connect()
    talk.say(client, b"hang")
    assert shell.hanging == 1
    talk.end(client)
    assert shell.hanging == 0
    assert client.is_over


def test_what_comes_while_a_command_runs_is_bounded(talk: Talk, shell: Shell) -> None:
    link = Link()
    client = talk.connect(link)
    talk.say(client, b"hang")
    for _ in range(64):
        talk.say(client, bytes(16 * 1024))
    assert link.to_server.waiting_bytes > 900_000
    talk.hang_up(client)


def test_who_hangs_up_ends_the_job(talk: Talk, shell: Shell) -> None:
    link = Link()
    client: OldClient = talk.connect(link)
    link.to_client.stall()
    shell.answers["endless"] = bytes(64_000_000), b"", {}
    talk.say(client, b"endless")
    talk.hang_up(client)
    assert talk.memory.server.connections == 0
