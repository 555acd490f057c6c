"""Lines of many sources on one stream: whole, whatever the pieces are that they come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from sockserv.cli.lines import MAX_LINE_BYTES, LineWriter, SharedOutput
from sockserv.testing import MemoryServer
from tests.cli.fakes import Written


def pour(pieces: list[bytes]) -> bytes:
    output = Written()
    writer = LineWriter(SharedOutput(output), lambda line: b"> %b\n" % line)

    async def write() -> None:
        for piece in pieces:
            await writer.write(piece)
        await writer.end()

    done = Deferred.fromCoroutine(write())
    assert done.called
    done.addErrback(lambda failure: failure.raiseException())
    return output.content


@given(st.lists(st.binary(min_size=1) | st.sampled_from([b"\n", b"a\n", b"\r\n", b"\n\n"])))
def test_pieces_make_no_difference(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    lines = whole.split(b"\n")
    if not lines[-1]:
        lines.pop()
    assert pour(pieces) == b"".join(b"> %b\n" % line for line in lines)


def test_a_line_has_a_bound() -> None:
    assert pour([b"x" * MAX_LINE_BYTES]) == b"> " + b"x" * MAX_LINE_BYTES + b"\n"
    assert pour([b"x" * (MAX_LINE_BYTES + 1)]).splitlines() == [
        b"> " + b"x" * MAX_LINE_BYTES,
        b"> x",
    ]
    assert len(pour([b"x" * 10_000] * 100).splitlines()) == 1 + 1_000_000 // MAX_LINE_BYTES


def test_writers_take_turns() -> None:
    """An output is for one writer at a time."""
    waiting: list[Deferred[None]] = []
    seen: list[bytes] = []

    class Slow(Written):
        async def write(self, data: bytes) -> None:
            seen.append(data)
            waiting.append(Deferred())
            await waiting[-1]

    shared = SharedOutput(Slow())
    both = [Deferred.fromCoroutine(shared.write(data)) for data in (b"one", b"two", b"three")]
    assert seen == [b"one"]
    both[1].cancel()
    both[1].addErrback(lambda failure: None)
    waiting[0].callback(None)
    assert seen == [b"one", b"three"]
    waiting[1].callback(None)
    with MemoryServer([]) as memory:
        memory.run(both[2])
