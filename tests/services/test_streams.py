"""Answers that do not fit into one value: large ones, and ones without end."""

from __future__ import annotations

import pytest

from sockserv.errors import CallCancelled, ReplyTooLarge
from sockserv.limits import Limits
from sockserv.services import Service
from sockserv.testing import Example, MemoryServer, ServiceConformance
from tests.services.streams import MIB, Streams


class TestStreams(ServiceConformance):
    examples = (
        Example("streams.large", {"size": 60_000}),
        Example("streams.large", {"size": 5_000, "piece_bytes": 7}),
        Example("streams.endless", ends=False),
    )

    def make_service(self) -> Service:
        return Streams()


def test_an_answer_of_10_mib() -> None:
    with MemoryServer([Streams()]) as memory:
        client = memory.connect()
        reply = memory.run(client.call("streams.large", {"size": 10 * MIB}))
        assert reply.body == Streams.large_answer(10 * MIB)
        assert reply.result == {"size": 10 * MIB}


@pytest.mark.parametrize("size", [MIB, MIB + 1])
def test_an_answer_as_large_as_was_agreed(size: int) -> None:
    with MemoryServer([Streams()]) as memory:
        client = memory.connect()
        calling = client.call("streams.large", {"size": size}, max_reply_bytes=MIB)
        if size <= MIB:
            assert len(memory.run(calling).body) == size
        else:
            with pytest.raises(ReplyTooLarge, match="larger than 1048576 bytes"):
                memory.run(calling)


@pytest.mark.parametrize("window_bytes", [1000, 64 * 1024, MIB])
def test_an_answer_without_end_is_cancelled(window_bytes: int) -> None:
    streams = Streams()
    limits = Limits(window_bytes=window_bytes, send_buffer_bytes=window_bytes)
    with MemoryServer([streams], limits=limits) as memory:
        client = memory.connect(limits=limits)
        call = memory.run(client.open("streams.endless"))
        for _ in range(5):
            assert memory.run(anext(call.body))
        assert streams.running == 1
        call.cancel()
        memory.flush()
        assert streams.running == 0
        with pytest.raises(CallCancelled):
            memory.run(call.raw_result())
