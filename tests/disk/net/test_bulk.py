"""Sending files: read and written on a link in memory, and what a socket does with pieces of files."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.net.bulk import OpenFile, in_memory, is_at_hand, send_mixed
from sockserv.net.lending import LentMemory
from sockserv.testing import Link, MemoryServer, RandomSizes
from sockserv.wire.calls import FileSpan
from sockserv.wire.outbox import Buffer
from tests.net.test_socket_outlet import FakeSocket, Fixture
from tests.net.transfers import MIB, TRANSFERS, Lender, make_file, services


@pytest.mark.parametrize("transfer", TRANSFERS, ids=lambda transfer: transfer.__name__)
@pytest.mark.parametrize("is_cached", [True, False], ids=["cached", "on a disk"])
def test_in_memory(
    transfer: Any, is_cached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_cached:
        monkeypatch.setattr("sockserv.net.bulk.is_at_hand", lambda file, at, size: False)
    both = services()
    with MemoryServer(both) as memory:
        memory.run(transfer(memory.connect(), tmp_path))
    cast(Lender, both[0]).close()


def test_through_fragments(tmp_path: Path) -> None:
    path, content = make_file(tmp_path, MIB)
    with MemoryServer(services()) as memory:
        client = memory.connect(link=Link(fragments=RandomSizes(7)))
        reply = memory.run(client.call("lender.send", {"path": str(path)}))
        assert reply.body == content


class File:
    """A file of 26 letters times `each`, opened to be sent."""

    def __init__(self, each: int = 10) -> None:
        self.content = b"".join(bytes([letter]) * each for letter in range(97, 123))
        self.news = 0
        self.temporary = tempfile.TemporaryFile()  # noqa: SIM115  # the tests close it
        self.temporary.write(self.content)
        self.temporary.flush()
        self.opened = OpenFile(self.temporary.fileno(), self._on_news)
        self.opened.unsent_bytes = len(self.content)

    def _on_news(self, opened: OpenFile) -> None:
        assert opened is self.opened
        self.news += 1

    @property
    def span(self) -> FileSpan:
        return FileSpan(self.opened, 0, len(self.content))


@pytest.fixture
def file() -> Iterator[File]:
    made = File()
    yield made
    made.temporary.close()


def test_a_span_is_counted_and_cut(file: File) -> None:
    span = file.span
    assert (len(span), len(span[3:]), len(span[:5]), len(span[2:9][1:3])) == (260, 257, 5, 2)
    assert span[2:9][1:3].offset == 3


def test_files_and_memory_go_out_in_order(file: File) -> None:
    it = Fixture()
    it.outlet.write([b"head", file.span, memoryview(b"middle"), file.span[:3], b"end"], 10**6)
    it.run()
    assert it.fake.sent == b"head" + file.content + b"middle" + file.content[:3] + b"end"


@given(st.lists(st.integers(0, 60), max_size=30), st.lists(st.integers(0, 259), max_size=4))
def test_any_socket(takes: list[int], cuts: list[int]) -> None:
    file = File()
    it = Fixture(takes)
    buffers: list[Buffer] = [b"head"]
    expected = b"head"
    for cut in cuts:
        buffers += [file.span[cut:], b"x" * (cut % 7)]
        expected += file.content[cut:] + b"x" * (cut % 7)
    file.opened.unsent_bytes = sum(len(part) for part in buffers if isinstance(part, FileSpan))
    it.outlet.write([part for part in buffers if len(part)], len(expected))
    it.run()
    assert it.fake.sent == expected
    assert not it.outlet.is_blocked
    assert file.opened.unsent_bytes == 0
    file.temporary.close()


def test_its_sender_is_told_when_all_has_gone(file: File) -> None:
    it = Fixture([100, 0, 100])
    it.outlet.write([file.span], 260)
    assert (file.opened.unsent_bytes, file.news) == (160, 0)
    it.run()
    assert (file.opened.unsent_bytes, file.news) == (0, 1)


@given(st.lists(st.integers(0, 60), max_size=30), st.lists(st.integers(0, 259), max_size=4))
def test_lent_memory_on_any_socket(takes: list[int], cuts: list[int]) -> None:
    it = Fixture(takes)
    content = bytes(range(256)) + b"four"
    news: list[LentMemory] = []
    lent = LentMemory(memoryview(content), news.append)
    spans = [FileSpan(lent, 0, len(content))[cut:] for cut in cuts]
    lent.unsent_bytes = sum(map(len, spans))
    buffers = [buffer for span in spans for buffer in (b"head", span)]
    expected = b"".join(b"head" + content[cut:] for cut in cuts)
    it.outlet.write(buffers, len(expected))
    it.run()
    assert it.fake.sent == expected
    assert news == [lent] * bool(cuts)


class Counting(OpenFile):
    """Counts the bytes that are read."""

    count = 0

    def read(self, offset: int, size: int) -> bytes:
        self.count += size
        return super().read(offset, size)


def test_not_much_more_is_read_than_the_socket_takes() -> None:
    with tempfile.TemporaryFile() as temporary:
        temporary.write(os.urandom(MIB))
        temporary.flush()
        opened = Counting(temporary.fileno(), lambda opened: None)
        opened.unsent_bytes = MIB
        it = Fixture([50_000] * 22)
        it.outlet.write([b"head", FileSpan(opened, 0, MIB)], MIB + 4)
        it.run()
        temporary.seek(0)
        assert it.fake.sent == b"head" + temporary.read()
    assert opened.count < 4 * MIB


def test_what_is_missing_is_zeros_and_its_sender_is_told(file: File) -> None:
    it = Fixture([100, 30])
    it.outlet.write([file.span, b"next frame"], 270)
    os.truncate(file.temporary.fileno(), 110)
    it.run()
    assert it.fake.sent == file.content[:110] + bytes(150) + b"next frame"
    assert file.opened.is_broken
    assert file.news >= 1


def test_a_file_that_cannot_be_read_is_zeros(file: File) -> None:
    unreadable = os.open("/", os.O_RDONLY)
    opened = OpenFile(unreadable, lambda opened: None)
    os.close(unreadable)
    fake = FakeSocket()
    assert send_mixed(cast(Any, fake), [FileSpan(opened, 0, 5), b"x"]) == 6
    assert fake.sent == bytes(5) + b"x"
    assert opened.is_broken


def test_the_transport_finds_the_same_error(file: File) -> None:
    errors = [ConnectionResetError(104, "reset")] * 2
    it = Fixture(errors)
    it.outlet.write([file.span, b"more"], 264)
    assert it.outlet.is_blocked
    it.run()
    assert it.fake.calls[-1] == "close"


def test_an_error_behind_what_was_sent_is_met_the_next_time(file: File) -> None:
    fake = FakeSocket([4, ConnectionResetError(104, "reset")])
    assert send_mixed(cast(Any, fake), [b"head", file.span]) == 4


def test_the_descriptor_lives_as_long_as_there_is_something_to_send(file: File) -> None:
    span = file.span[:7]
    descriptor = file.opened.descriptor
    del file.opened
    gc.collect()
    os.fstat(descriptor)
    del span
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_file_without_a_descriptor() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        OpenFile(-1, lambda opened: None)


@pytest.mark.parametrize("is_broken", [False, True])
def test_what_lies_in_memory_and_in_files_one_behind_the_other(
    file: File, *, is_broken: bool
) -> None:
    if is_broken:
        os.truncate(file.temporary.fileno(), 100)
    content = file.content[:100] + bytes(160) if is_broken else file.content
    buffers: list[Buffer] = [b"head", file.span[:200], memoryview(b"middle"), file.span[200:]]
    expected = b"head" + content[:200] + b"middle" + content[200:]
    assert bytes(in_memory(buffers, len(expected))) == expected
    assert bytes(in_memory([b"alone"], 5)) == b"alone"
    assert file.opened.unsent_bytes == 0
    assert file.opened.is_broken is is_broken
    assert file.news >= 1


def test_memory_for_more_than_a_turn_is_not_kept(file: File) -> None:
    buffers: list[Buffer] = [file.span[:1], bytes(3 * MIB)]
    assert bytes(in_memory(buffers, 3 * MIB + 1)) == file.content[:1] + bytes(3 * MIB)
    assert bytes(in_memory([file.span[1:3], b"x"], 3)) == file.content[1:3] + b"x"


def test_whether_a_part_is_at_hand(tmp_path: Path) -> None:
    path, _ = make_file(tmp_path, MIB)
    with path.open("rb") as opened:
        assert is_at_hand(opened.fileno(), 0, MIB)
        assert is_at_hand(opened.fileno(), 5 * MIB, MIB), "there is nothing to wait for"
    with Path("/proc/self/stat").open("rb") as process:
        assert not is_at_hand(process.fileno(), 0, 10), "nobody knows"
