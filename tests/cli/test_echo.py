"""`sockserv echo`: every byte comes back, or it says that not."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from sockserv.cli.exits import EndedBySignal
from sockserv.cli.pump import WrongAnswer
from sockserv.cli.session import Session
from sockserv.cli.stdio import StreamError
from sockserv.errors import ConnectionEnded, InternalError, UnknownOperation
from sockserv.services import Call, Service, operation
from sockserv.services.echo import Echo, EchoArguments
from sockserv.testing import Link, MemoryServer, RandomSizes
from tests.cli.fakes import Pieces, Written, assert_hung_up, session_with, work_of

BIG = bytes(range(256)) * 12_000
PIECES = [BIG[start : start + 200_001] for start in range(0, len(BIG), 200_001)]


def work(session: Session, *arguments: str) -> Deferred[None]:
    return Deferred.fromCoroutine(work_of(["echo", *arguments])[1](session))


class TestText:
    @pytest.mark.parametrize(
        ("arguments", "answer"),
        [
            (["hello"], b"hello\n"),
            (["hello,", "world"], b"hello, world\n"),
            ([""], b"\n"),
            (["--upper", "grüße", "中文"], "GRÜSSE 中文\n".encode()),
            (["--", "--upper"], b"--upper\n"),
            (["caf\udce9"], b"caf\xe9\n"),
        ],
    )
    def test_it_comes_back(self, arguments: list[str], answer: bytes) -> None:
        with MemoryServer([Echo()]) as memory:
            output = Written()
            memory.run(work(session_with(memory, output=output), *arguments))
            assert output.content == answer
            assert_hung_up(memory)

    def test_for_programs(self) -> None:
        with MemoryServer([Echo()]) as memory:
            output = Written()
            memory.run(work(session_with(memory, output=output, json=True), "中", "caf\udce9"))
            assert json.loads(output.content) == {"text": "中 caf\\xe9"}

    def test_much_of_it(self) -> None:
        with MemoryServer([Echo()]) as memory:
            output = Written()
            memory.run(work(session_with(memory, output=output), "x" * 2_000_000))
            assert output.content == b"x" * 2_000_000 + b"\n"

    def test_a_daemon_that_has_no_echo(self) -> None:
        with MemoryServer([]) as memory, pytest.raises(UnknownOperation):
            memory.run(work(session_with(memory), "hello"))


class TestStream:
    @pytest.mark.parametrize("json", [False, True])
    @pytest.mark.parametrize("pieces", [[], [b"a"], [b"a", b"b" * 70_000, b"\0\xff"], PIECES])
    def test_it_comes_back(self, pieces: list[bytes], json: bool) -> None:
        with MemoryServer([Echo()]) as memory:
            output = Written()
            link = Link(fragments=None if pieces is PIECES else RandomSizes(7))
            session = session_with(
                memory, pieces=Pieces(pieces), output=output, link=link, json=json
            )
            memory.run(work(session))
            assert output.content == b"".join(pieces)
            assert_hung_up(memory)

    def test_upper_case(self) -> None:
        text = "straße, é, 中文; " * 9_000
        data = text.encode()
        pieces = [data[start : start + 1_001] for start in range(0, len(data), 1_001)]
        with MemoryServer([Echo()]) as memory:
            output = Written()
            memory.run(work(session_with(memory, pieces=Pieces(pieces), output=output), "-u"))
            assert output.content.decode() == text.upper()

    def test_what_came_is_written_while_more_is_waited_for(self) -> None:
        with MemoryServer([Echo()]) as memory:
            output = Written()
            pieces = Pieces([b"hello\n"], end=None)
            running = work(session_with(memory, pieces=pieces, output=output))
            memory.flush()
            assert output.content == b"hello\n"
            running.cancel()
            with pytest.raises(CancelledError):
                memory.run(running)
            assert_hung_up(memory)

    def test_an_input_that_cannot_be_read(self) -> None:
        with MemoryServer([Echo()]) as memory:
            broken = StreamError("cannot read standard input: input/output error")
            session = session_with(memory, pieces=Pieces([b"x"], end=broken))
            with pytest.raises(StreamError) as caught:
                memory.run(work(session))
            assert caught.value is broken
            assert_hung_up(memory)

    @pytest.mark.parametrize("failure", [StreamError("full"), EndedBySignal(signal.SIGPIPE)])
    def test_an_output_that_cannot_be_written(self, failure: Exception) -> None:
        with MemoryServer([Echo()]) as memory:
            output = Written(failure, after_bytes=1_000_000)
            session = session_with(memory, pieces=Pieces(PIECES), output=output)
            with pytest.raises(type(failure)):
                memory.run(work(session))
            assert_hung_up(memory)

    @pytest.mark.parametrize("end", [b"", None])
    def test_the_daemon_dies(self, end: bytes | None) -> None:
        with MemoryServer([Echo()]) as memory:
            link = Link()
            output = Written()
            pieces = Pieces(PIECES, end=end)
            running = work(session_with(memory, pieces=pieces, output=output, link=link))
            while not output.content:
                memory.network.step()
            link.cut()
            with pytest.raises(ConnectionEnded):
                memory.run(running)


class WrongEcho(Service):
    """Ends an echo in the ways that it must not."""

    def __init__(
        self, *, extra: bytes = b"", read: int = 1, error: Exception | None = None
    ) -> None:
        self._extra = extra
        self._read = read
        self._error = error

    @operation("echo", args=EchoArguments, permission="echo")
    async def echo(self, call: Call[EchoArguments]) -> Any:
        read = 0
        async for piece in call.body:
            await call.send(piece[1:])
            read += 1
            if read == self._read:
                break
        if self._error is not None:
            raise self._error
        await call.send(self._extra)


class TestWrongAnswers:
    def run(self, service: Service, pieces: Pieces, *arguments: str) -> bytes:
        with MemoryServer([service]) as memory:
            output = Written()
            running = work(session_with(memory, pieces=pieces, output=output), *arguments)
            memory.run(running)
            return output.content

    def test_too_little(self) -> None:
        with pytest.raises(WrongAnswer, match="3 bytes were sent, and 2 came back"):
            self.run(WrongEcho(read=2), Pieces([b"abc"]))

    def test_too_much(self) -> None:
        with pytest.raises(WrongAnswer, match="3 bytes were sent, and 4 came back"):
            self.run(WrongEcho(extra=b"xy", read=2), Pieces([b"abc"]))

    @pytest.mark.parametrize("arguments", [[], ["--upper"]])
    def test_it_ends_before_the_input(self, arguments: list[str]) -> None:
        with pytest.raises(WrongAnswer, match="ended the echo before the end of the input"):
            self.run(WrongEcho(extra=b"a"), Pieces([b"abc"], end=None), *arguments)

    def test_upper_case_may_be_of_another_length(self) -> None:
        assert self.run(WrongEcho(read=2), Pieces([b"abc"]), "--upper") == b"bc"

    def test_it_fails_in_the_middle(self) -> None:
        with pytest.raises(InternalError, match="disk on fire"):
            self.run(WrongEcho(error=InternalError("disk on fire")), Pieces(PIECES))
