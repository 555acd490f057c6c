"""The standard input of a kept job, and its terminal."""

from __future__ import annotations

import os
import termios
from collections.abc import Iterator

import pytest

from sockserv.keeping.channels import InputQueue, open_channels, read_output, resize


class Pipe:
    """A pipe whose writing end does not block."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.writing, False)
        os.set_blocking(self.reading, False)
        self.queue = InputQueue(self.writing, is_terminal=False)

    def is_open(self) -> bool:
        return self.queue.is_open

    def has_work(self) -> bool:
        return self.queue.has_work

    def read(self, count: int = 1_000_000) -> bytes:
        return os.read(self.reading, count)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.queue.close()
    os.close(made.reading)


def test_what_is_given_is_taken(pipe: Pipe) -> None:
    pipe.queue.give(b"one ")
    pipe.queue.give(b"two")
    assert pipe.has_work()
    assert (pipe.queue.given_bytes, pipe.queue.taken_bytes) == (7, 0)
    pipe.queue.pass_on()
    assert (pipe.queue.given_bytes, pipe.queue.taken_bytes) == (7, 7)
    assert not pipe.has_work()
    assert pipe.read() == b"one two"


def test_a_job_that_does_not_read(pipe: Pipe) -> None:
    data = bytes(range(256)) * 1024
    pipe.queue.give(data)
    pipe.queue.pass_on()
    taken = pipe.queue.taken_bytes
    assert 0 < taken < len(data)
    assert pipe.queue.given_bytes == len(data)
    received = b""
    while pipe.has_work():
        received += pipe.read()
        pipe.queue.pass_on()
    pipe.queue.end()
    assert received + pipe.read() == data
    assert pipe.read() == b""


def test_the_end_comes_behind_what_was_given(pipe: Pipe) -> None:
    data = b"x" * 200_000
    pipe.queue.give(data)
    pipe.queue.end()
    assert pipe.queue.next_offset is None
    assert pipe.is_open()
    received = b""
    while piece := pipe.read():
        received += piece
        pipe.queue.pass_on()
    assert received == data
    assert not pipe.is_open()
    pipe.queue.give(b"more")
    assert pipe.queue.given_bytes == len(data)


def test_a_cut_waits_for_nobody(pipe: Pipe) -> None:
    pipe.queue.give(b"x" * 200_000)
    pipe.queue.pass_on()
    pipe.queue.cut()
    assert not pipe.is_open()
    assert pipe.queue.given_bytes == pipe.queue.taken_bytes


def test_a_job_that_reads_no_more() -> None:
    pipe = Pipe()
    os.close(pipe.reading)
    pipe.queue.give(b"lost")
    pipe.queue.pass_on()
    assert not pipe.is_open()
    assert pipe.queue.next_offset is None
    assert pipe.queue.given_bytes == 0
    pipe.queue.end()
    pipe.queue.close()


def test_reading_what_there_is() -> None:
    pipe = Pipe()
    assert read_output(pipe.reading) is None
    os.write(pipe.writing, b"x")
    assert read_output(pipe.reading) == b"x"
    pipe.queue.close()
    assert read_output(pipe.reading) == b""
    os.close(pipe.reading)


class TestTerminal:
    def test_its_size(self) -> None:
        channels = open_channels((132, 43))
        assert len({*channels.of_job}) == 1
        assert channels.stderr is None
        assert os.get_terminal_size(channels.of_job[0]) == (132, 43)
        resize(channels.stdout, 20, 10)
        assert os.get_terminal_size(channels.of_job[0]) == (20, 10)
        channels.close()

    def test_its_end(self) -> None:
        channels = open_channels((80, 24))
        os.write(channels.of_job[1], b"last words")
        assert read_output(channels.stdout) == b"last words"
        channels.close_those_of_job()
        assert read_output(channels.stdout) == b""
        os.close(channels.stdin)
        os.close(channels.stdout)

    @pytest.mark.parametrize(
        ("typed", "read"), [(b"", []), (b"line\n", [b"line\n"]), (b"half", [b"half"])]
    )
    def test_the_end_of_its_input_is_typed(self, typed: bytes, read: list[bytes]) -> None:
        channels = open_channels((80, 24))
        terminal = channels.of_job[0]
        queue = InputQueue(channels.stdin, is_terminal=True)
        queue.give(typed)
        queue.end()
        assert [os.read(terminal, 100) for _ in range(len(read) + 1)] == [*read, b""]
        # It goes on: somebody may type more.
        assert queue.is_open
        queue.give(b"more\n")
        queue.pass_on()
        assert os.read(terminal, 100) == b"more\n"
        os.close(channels.stdout)
        channels.close_those_of_job()
        queue.close()

    def test_one_that_takes_every_character(self) -> None:
        channels = open_channels((80, 24))
        terminal = channels.of_job[0]
        mode = termios.tcgetattr(terminal)
        mode[3] &= ~(termios.ICANON | termios.ECHO)
        termios.tcsetattr(terminal, termios.TCSANOW, mode)
        queue = InputQueue(channels.stdin, is_terminal=True)
        queue.give(b"x")
        queue.end()
        assert os.read(terminal, 1) + os.read(terminal, 1) == b"x\x04"
        channels.close_those_of_job()
        queue.close()
        os.close(channels.stdout)


def test_a_pipe_is_no_terminal() -> None:
    channels = open_channels(None)
    resize(channels.stdin, 80, 24)
    channels.close()
