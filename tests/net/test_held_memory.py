"""What a peer can make a connection hold by asking, cancelling and not reading."""

from __future__ import annotations

import gc
import tracemalloc

from sockserv.net.calls import IncomingCall
from sockserv.services.echo import Echo
from sockserv.testing import OWNER, MemoryServer, RawPeer
from sockserv.testing.raw import frame

MANY = 200


def open_and_cancel(raw: RawPeer, body: bytes) -> None:
    for call in range(3, 3 + 2 * MANY, 2):
        request = frame({"type": "open", "call": call, "op": "echo", "end": True}, body)
        raw.send_bytes(request + frame({"type": "cancel", "call": call}))


def held_calls() -> list[IncomingCall]:
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, IncomingCall)]


def test_calls_that_were_cancelled_are_not_held_for_a_peer_that_does_not_read() -> None:
    before = len(held_calls())
    with MemoryServer([Echo()]) as memory:
        raw = memory.connect_raw(OWNER)
        raw.pause_reading()
        open_and_cancel(raw, bytes(50_000))
        memory.flush()
        assert len(held_calls()) - before <= 1
        raw.resume_reading()
        memory.flush()
        answered = {one["call"] for one in raw.take_frames() if one["type"] in ("error", "reply")}
        assert answered == set(range(3, 3 + 2 * MANY, 2))


def test_calls_whose_waiting_handler_was_cancelled_can_be_collected() -> None:
    before = len(held_calls())
    with MemoryServer([Echo()]) as memory:
        raw = memory.connect_raw(OWNER)
        for call in range(3, 3 + 2 * MANY, 2):
            raw.send({"type": "open", "call": call, "op": "echo"}, b"and more to come")
            raw.send({"type": "cancel", "call": call})
        memory.flush()
        assert len(held_calls()) - before <= 1


def test_pieces_of_a_byte_that_wait_to_be_sent_count_for_what_they_cost() -> None:
    with MemoryServer([Echo()]) as memory:
        raw = memory.connect_raw(OWNER)
        raw.send({"type": "open", "call": 3, "op": "echo"})
        raw.send({"type": "data", "call": 3}, bytes(65_536))
        memory.flush()
        for _ in range(2000):
            raw.send({"type": "data", "call": 3}, b"x")
            memory.flush()
        (call,) = [call for call in held_calls() if not call.is_ended]
        # The echo waits for credit by now, and what comes waits in the body, joined.
        assert call.queue is not None
        assert len(call.queue) <= 1025
        raw.send({"type": "window", "call": 3, "bytes": 10_000})
        memory.flush()
        assert len(raw.take_bodies(3)) == 65_536 + 2000


def test_what_was_not_read_is_let_go_when_the_connection_is_lost() -> None:
    gc.disable()
    try:
        with MemoryServer([Echo()]) as memory:
            raw = memory.connect_raw(OWNER)
            for call in range(3, 23, 2):
                raw.send({"type": "open", "call": call, "op": "echo", "end": True}, bytes(500_000))
            memory.flush()
            tracemalloc.start()
            raw.send({"type": "open", "call": 23, "op": "echo", "end": True}, bytes(1_000_000))
            memory.flush()
            assert tracemalloc.get_traced_memory()[0] > 1_000_000
            raw.received = b""
            raw.abort()
            memory.flush()
            # Without the collector, which a daemon that idles does not get to.
            assert tracemalloc.get_traced_memory()[0] < 300_000
    finally:
        tracemalloc.stop()
        gc.enable()
