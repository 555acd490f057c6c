from __future__ import annotations

import os
import termios
from collections.abc import Iterator
from typing import TypeVar

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from sockserv.services.execution.guardian.descriptors import (
    READ_BYTES,
    DescriptorSink,
    DescriptorSource,
    TerminalSink,
)
from tests.services.execution.guardian.fakes import WatchingClock

T = TypeVar("T")

PIPE_BYTES = 64 * 1024
LARGE_PIPE_BYTES = 1024 * 1024


class Pipe:
    """A pipe, one of whose ends is the child's."""

    def __init__(self) -> None:
        self.reactor = WatchingClock()
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)
        self._open = {self._reading, self._writing}

    def source(self) -> DescriptorSource:
        self._open.discard(self._reading)
        return DescriptorSource(self.reactor, self._reading)

    def sink(self) -> DescriptorSink:
        self._open.discard(self._writing)
        return DescriptorSink(self.reactor, self._writing)

    def write(self, data: bytes) -> int:
        return os.write(self._writing, data)

    def read(self, size: int) -> bytes:
        return os.read(self._reading, size)

    def end(self) -> None:
        """The child closes its end, or ends."""
        for file in self._open:
            os.close(file)
        self._open.clear()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.end()


def read(source: DescriptorSource) -> Deferred[bytes]:
    return Deferred.fromCoroutine(source.read())


def write(sink: DescriptorSink, data: bytes) -> Deferred[bool]:
    return Deferred.fromCoroutine(sink.write(data))


def result(deferred: Deferred[T]) -> T | None:
    """What it has fired with; None if it has not."""
    found: list[T] = []

    def keep(value: T) -> T:
        found.append(value)
        return value

    deferred.addCallback(keep)
    return found[0] if found else None


class TestSource:
    def test_what_is_there_is_read_in_one_piece(self, pipe: Pipe) -> None:
        source = pipe.source()
        pipe.write(b"ab")
        pipe.write(b"c")
        reading = read(source)
        pipe.reactor.turn()
        assert result(reading) == b"abc"
        source.close()

    def test_nothing_is_watched_while_nobody_waits(self, pipe: Pipe) -> None:
        source = pipe.source()
        assert pipe.reactor.readers == []
        reading = read(source)
        assert pipe.reactor.readers == [source]
        pipe.write(b"a")
        pipe.reactor.turn()
        assert result(reading) == b"a"
        assert pipe.reactor.readers == []
        source.close()

    def test_what_is_there_already_is_not_waited_for(self, pipe: Pipe) -> None:
        source = pipe.source()
        pipe.write(b"a")
        assert result(read(source)) == b"a"
        assert pipe.reactor.readers == []
        source.close()

    def test_who_is_read_all_the_time_has_to_wait_for_a_turn(self, pipe: Pipe) -> None:
        """Or nobody else would have one."""
        source = pipe.source()
        turns = 0
        for number in range(20):
            pipe.write(b"a")
            reading = read(source)
            if result(reading) is None:
                turns += 1
                pipe.reactor.turn()
            assert result(reading) == b"a", number
        assert turns >= 9
        source.close()

    def test_who_reads_on_at_once_is_watched_on(self, pipe: Pipe) -> None:
        source = pipe.source()
        pieces = []

        async def read_all() -> None:
            while data := await source.read():
                pieces.append(data)

        done = Deferred.fromCoroutine(read_all())
        for data in b"a", b"b":
            pipe.write(data)
            pipe.reactor.turn()
            assert pipe.reactor.readers == [source]
        pipe.end()
        pipe.reactor.turn()
        assert done.called
        assert pieces == [b"a", b"b"]
        assert pipe.reactor.readers == []

    @pytest.mark.parametrize("by_reactor", [False, True])
    def test_the_end_comes_again_and_again(self, pipe: Pipe, by_reactor: bool) -> None:
        source = pipe.source()
        pipe.write(b"a")
        pipe.end()
        assert [self.read_now(pipe, source, by_reactor) for _ in range(3)] == [b"a", b"", b""]
        assert source.fileno() == -1

    def read_now(self, pipe: Pipe, source: DescriptorSource, by_reactor: bool) -> object:
        reading = read(source)
        if by_reactor and pipe.reactor.readers:
            # As reactors tell that the other end is closed, where there is nothing to read with it.
            pipe.reactor.removeReader(source)
            source.connectionLost(Failure(EOFError()))
        pipe.reactor.turn()
        return result(reading)

    def test_nothing_to_read_after_all(self, pipe: Pipe) -> None:
        source = pipe.source()
        reading = read(source)
        pipe.reactor.turn(3)
        assert result(reading) is None
        pipe.write(b"a")
        pipe.reactor.turn()
        assert result(reading) == b"a"
        source.close()

    def test_a_reader_that_gives_up_loses_nothing(self, pipe: Pipe) -> None:
        source = pipe.source()
        reading = read(source)
        reading.cancel()
        reading.addErrback(lambda failure: failure.trap(CancelledError))
        assert pipe.reactor.readers == []
        pipe.write(b"a")
        reading = read(source)
        pipe.reactor.turn()
        assert result(reading) == b"a"
        source.close()

    def test_closing_wakes_who_waits(self, pipe: Pipe) -> None:
        source = pipe.source()
        reading = read(source)
        source.close()
        source.close()
        assert result(reading) == b""
        assert pipe.reactor.readers == []

    def test_a_full_pipe_is_made_larger_and_read_up_to_the_bound(self, pipe: Pipe) -> None:
        source = pipe.source()
        assert pipe.write(bytes(LARGE_PIPE_BYTES)) == PIPE_BYTES
        reading = read(source)
        pipe.reactor.turn()
        assert result(reading) == bytes(PIPE_BYTES)
        assert pipe.write(bytes(2 * LARGE_PIPE_BYTES)) == LARGE_PIPE_BYTES
        reading = read(source)
        pipe.reactor.turn()
        assert result(reading) == bytes(READ_BYTES)
        source.close()


class TestSink:
    def test_what_there_is_room_for_is_written_at_once(self, pipe: Pipe) -> None:
        sink = pipe.sink()
        assert result(write(sink, b"abc")) is True
        assert result(write(sink, b"")) is True
        assert pipe.read(10) == b"abc"
        assert sink.written_bytes == 3
        assert pipe.reactor.writers == []
        sink.close()
        assert pipe.read(10) == b""

    def test_a_full_pipe_is_made_larger_and_then_waited_for(self, pipe: Pipe) -> None:
        sink = pipe.sink()
        writing = write(sink, bytes(LARGE_PIPE_BYTES + 1))
        assert sink.written_bytes == PIPE_BYTES
        pipe.reactor.turn()
        assert sink.written_bytes == LARGE_PIPE_BYTES
        pipe.reactor.turn(3)
        assert result(writing) is None
        pipe.read(PIPE_BYTES)
        pipe.reactor.turn()
        assert result(writing) is True
        assert sink.written_bytes == LARGE_PIPE_BYTES + 1
        assert pipe.reactor.writers == []
        sink.close()

    def test_nobody_reads_any_more(self, pipe: Pipe) -> None:
        sink = pipe.sink()
        pipe.end()
        assert result(write(sink, b"abc")) is False
        assert result(write(sink, b"abc")) is False
        assert sink.written_bytes == 0
        assert sink.fileno() == -1

    def test_nobody_reads_any_more_while_somebody_waits(self, pipe: Pipe) -> None:
        sink = pipe.sink()
        writing = write(sink, bytes(2 * LARGE_PIPE_BYTES))
        pipe.end()
        sink.connectionLost(Failure(EOFError()))
        assert result(writing) is False
        assert sink.written_bytes == PIPE_BYTES

    def test_closing_while_somebody_waits(self, pipe: Pipe) -> None:
        sink = pipe.sink()
        writing = write(sink, bytes(2 * LARGE_PIPE_BYTES))
        sink.close()
        sink.close()
        assert result(writing) is False
        assert pipe.reactor.writers == []

    def test_a_writer_that_gives_up(self, pipe: Pipe) -> None:
        sink = pipe.sink()
        writing = write(sink, bytes(2 * LARGE_PIPE_BYTES))
        writing.cancel()
        writing.addErrback(lambda failure: failure.trap(CancelledError))
        assert pipe.reactor.writers == []
        assert sink.written_bytes == PIPE_BYTES
        sink.close()


class Terminal:
    """A terminal, and whoever types at it."""

    def __init__(self) -> None:
        here, self.program = os.openpty()
        self._here = here
        self.sink = TerminalSink(WatchingClock(), os.dup(here))

    def read(self, count: int = 100) -> bytes:
        """What the program gets; `b""` is an end. The system takes a moment to hand it on."""
        return os.read(self.program, count)

    def be_raw(self) -> None:
        attributes = termios.tcgetattr(self.program)
        attributes[3] &= ~termios.ICANON
        termios.tcsetattr(self.program, termios.TCSANOW, attributes)

    def close(self) -> None:
        os.close(self._here)
        os.close(self.program)
        self.sink.close()


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


class TestTerminal:
    @pytest.mark.parametrize("typed", [b"", b"a line\n"])
    def test_the_end_between_lines(self, terminal: Terminal, typed: bytes) -> None:
        assert result(write(terminal.sink, typed)) is True
        terminal.sink.close()
        terminal.sink.close()
        if typed:
            assert terminal.read() == typed
        assert terminal.read() == b""

    def test_the_end_within_a_line(self, terminal: Terminal) -> None:
        assert result(write(terminal.sink, b"a line\npart")) is True
        terminal.sink.close()
        assert [terminal.read() for _ in range(3)] == [b"a line\n", b"part", b""]

    def test_the_end_where_each_character_counts(self, terminal: Terminal) -> None:
        terminal.be_raw()
        assert result(write(terminal.sink, b"part")) is True
        terminal.sink.close()
        assert b"".join(terminal.read(1) for _ in range(5)) == b"part\x04"

    def test_nothing_is_typed_after_the_end(self, terminal: Terminal) -> None:
        terminal.sink.close()
        assert result(write(terminal.sink, b"more\n")) is False
        assert terminal.read() == b""

    def test_a_terminal_that_is_gone(self, terminal: Terminal) -> None:
        os.close(terminal.program)
        terminal.program = os.open("/dev/null", os.O_RDONLY)
        terminal.sink.close()
        assert terminal.sink.fileno() == -1
