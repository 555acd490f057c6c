"""Reading and writing in threads: order, bounds, ends, and descriptors that somebody made non-blocking.

The descriptors are real pipes; the reactor is a queue, which the test empties.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from queue import Queue
from threading import Thread
from typing import Any, TypeVar, cast

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from sockserv.cli.exits import EndedBySignal
from sockserv.cli.stdio import StreamError, ThreadInput, ThreadOutput

T = TypeVar("T")

DEADLINE_SECONDS = 10.0
PIECE = 256 * 1024


class Reactor:
    """Calls what comes from threads while a test waits for something."""

    def __init__(self) -> None:
        self._calls: Queue[Callable[[], object]] = Queue()

    def callFromThread(
        self, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> None:
        self._calls.put(lambda: callable(*args, **kwargs))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        outcome: list[T | Failure] = []
        Deferred.fromCoroutine(work).addBoth(outcome.append)
        while not outcome:
            self._calls.get(timeout=DEADLINE_SECONDS)()
        result = outcome[0]
        if isinstance(result, Failure):
            result.raiseException()
        return result


@attrs.define
class Pipe:
    source: int
    target: int

    def write_all(self, data: bytes) -> None:
        os.write(self.target, data)
        self.close_target()

    def close_target(self) -> None:
        os.close(self.target)
        self.target = -1

    def close_source(self) -> None:
        os.close(self.source)
        self.source = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe(*os.pipe())
    yield pipe
    for end in (pipe.source, pipe.target):
        if end >= 0:
            os.close(end)


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


def input_of(reactor: Reactor, file: int) -> ThreadInput:
    return ThreadInput(cast(IReactorFromThreads, reactor), file, "standard input")


def output_of(reactor: Reactor, file: int) -> ThreadOutput:
    return ThreadOutput(cast(IReactorFromThreads, reactor), file, "standard output")


async def read_all(source: ThreadInput) -> bytes:
    content = b""
    while piece := await source.read():
        assert len(piece) <= PIECE
        content += piece
    return content


class TestInput:
    @pytest.mark.parametrize("content", [b"", b"a", b"\0\xff\n" * 1000])
    def test_all_of_it(self, pipe: Pipe, reactor: Reactor, content: bytes) -> None:
        pipe.write_all(content)
        assert reactor.run(read_all(input_of(reactor, pipe.source))) == content

    def test_a_file(self, reactor: Reactor, tmp_path: Any) -> None:
        content = os.urandom(5 * PIECE + 1)
        (tmp_path / "file").write_bytes(content)
        with open(tmp_path / "file", "rb") as file:
            assert reactor.run(read_all(input_of(reactor, file.fileno()))) == content

    def test_the_end_stays_the_end(self, pipe: Pipe, reactor: Reactor) -> None:
        pipe.write_all(b"a")
        source = input_of(reactor, pipe.source)
        assert reactor.run(read_all(source)) == b"a"
        assert reactor.run(source.read()) == b""

    def test_what_has_come_is_there_before_the_end(self, pipe: Pipe, reactor: Reactor) -> None:
        source = input_of(reactor, pipe.source)
        for content in (b"one", b"two"):
            os.write(pipe.target, content)
            assert reactor.run(source.read()) == content
        pipe.close_target()
        assert reactor.run(source.read()) == b""

    @pytest.mark.parametrize("pieces_ahead", [3])
    def test_it_does_not_read_far_ahead(
        self, reactor: Reactor, tmp_path: Any, pieces_ahead: int
    ) -> None:
        (tmp_path / "file").write_bytes(bytes(20 * PIECE))
        with open(tmp_path / "file", "rb") as file:
            source = input_of(reactor, file.fileno())
            reactor.run(source.read())
            # Another one has been given room by the piece that was taken; the reader has stopped after that.
            assert os.lseek(file.fileno(), 0, os.SEEK_CUR) <= (pieces_ahead + 1) * PIECE
            assert len(reactor.run(read_all(source))) == 19 * PIECE

    def test_an_error(self, reactor: Reactor, tmp_path: Any) -> None:
        folder = os.open(tmp_path, os.O_RDONLY)
        try:
            source = input_of(reactor, folder)
            for _ in range(2):
                with pytest.raises(StreamError, match="cannot read standard input: is a directory"):
                    reactor.run(source.read())
        finally:
            os.close(folder)

    def test_it_is_closed(self, pipe: Pipe, reactor: Reactor) -> None:
        with pytest.raises(StreamError, match="cannot read standard input: it is closed"):
            reactor.run(input_of(reactor, pipe.target).read())

    def test_somebody_made_it_non_blocking(self, pipe: Pipe, reactor: Reactor) -> None:
        os.set_blocking(pipe.source, False)
        source = input_of(reactor, pipe.source)
        reading = Deferred.fromCoroutine(source.read())
        pipe.write_all(b"late")

        async def wait() -> bytes:
            return await reading

        assert reactor.run(wait()) == b"late"
        assert not os.get_blocking(pipe.source)
        # The thread has to have come to the end: the next test's pipe may have the same number.
        assert reactor.run(source.read()) == b""

    def test_a_reader_that_was_cancelled(self, pipe: Pipe, reactor: Reactor) -> None:
        source = input_of(reactor, pipe.source)
        reading = Deferred.fromCoroutine(source.read())
        reading.addErrback(lambda failure: None)
        reading.cancel()
        pipe.write_all(b"a")
        assert reactor.run(read_all(source)) == b"a"


class TestOutput:
    def test_all_of_it_in_its_order(self, reactor: Reactor, tmp_path: Any) -> None:
        pieces = [bytes([number % 256]) * (number * 101 % 70_000) for number in range(300)]

        async def write() -> None:
            for piece in pieces:
                await output.write(piece)
            await output.flush()

        with open(tmp_path / "file", "wb") as file:
            output = output_of(reactor, file.fileno())
            reactor.run(write())
        assert (tmp_path / "file").read_bytes() == b"".join(pieces)

    def test_nothing(self, reactor: Reactor) -> None:
        output = output_of(reactor, -1)
        reactor.run(output.write(b""))
        reactor.run(output.flush())

    @pytest.mark.parametrize("blocking", [True, False])
    def test_it_waits_for_a_slow_reader(self, pipe: Pipe, reactor: Reactor, blocking: bool) -> None:
        os.set_blocking(pipe.target, blocking)
        output = output_of(reactor, pipe.target)
        written = []

        async def write() -> None:
            for number in range(40):
                await output.write(bytes([number]) * 100_000)
                written.append(number)
            await output.flush()
            pipe.close_target()

        writing = Deferred.fromCoroutine(write())
        # One mebibyte may wait, beside what makes it more than that.
        assert len(written) == 10
        content = b""

        async def wait() -> None:
            await writing

        def read() -> None:
            nonlocal content
            while piece := os.read(pipe.source, 50_000):
                content += piece

        reader = Thread(target=read)
        reader.start()
        reactor.run(wait())
        reader.join(DEADLINE_SECONDS)
        assert content == b"".join(bytes([number]) * 100_000 for number in range(40))

    @pytest.mark.parametrize("size", [1, 3_000_000])
    def test_the_reader_has_gone(self, pipe: Pipe, reactor: Reactor, size: int) -> None:
        pipe.close_source()
        output = output_of(reactor, pipe.target)

        async def write() -> None:
            await output.write(bytes(size))
            await output.flush()

        for _ in range(2):
            with pytest.raises(EndedBySignal) as caught:
                reactor.run(write())
            assert caught.value.number == signal.SIGPIPE

    def test_no_room(self, reactor: Reactor) -> None:
        with open("/dev/full", "wb") as file:
            output = output_of(reactor, file.fileno())
            reactor.run(output.write(b"x"))
            with pytest.raises(
                StreamError, match="cannot write to standard output: no space left on device"
            ):
                reactor.run(output.flush())

    def test_it_is_closed(self, pipe: Pipe, reactor: Reactor) -> None:
        output = output_of(reactor, pipe.source)
        reactor.run(output.write(b"x"))
        with pytest.raises(StreamError, match="cannot write to standard output: it is closed"):
            reactor.run(output.flush())
