"""One side of a connection: its phases, its limits, and what the program that uses it may do.

Many conversations, byte by byte, are in docs/vectors.
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from msgspec import Raw

from sockserv.errors import CallError, GoodbyeCode, InternalError, MessageTooLarge, ProtocolError
from sockserv.limits import Limits
from sockserv.wire.connection import Connection, Phase, Role
from sockserv.wire.messages import encode_value
from tests.wire.sides import HELLO, Frame, Side, frame, frame_bytes, in_one_piece

# What a server and a client make of each message in each phase: an event, nothing, or the code of
# the goodbye. A server has call 1 of the client open and has opened call 2, a client the same calls
# the other way round; before the login there are none.
U, L = "unexpected-message", "login-required"
MESSAGES: dict[str, dict[str, Any]] = {
    "hello": {"version": 1},
    "open of theirs": {"call": 3, "op": "x"},
    "open of a login": {"call": 3, "op": "auth.x", "end": True},
    "open of ours": {"call": 4, "op": "x"},
    "data": {"call": 1},
    "data of ours": {"call": 2},
    "reply of theirs": {"call": 1},
    "reply of ours": {"call": 2},
    "error of theirs": {"call": 1, "code": "internal"},
    "error of ours": {"call": 2, "code": "internal"},
    "cancel of theirs": {"call": 1},
    "cancel of ours": {"call": 2},
    "window": {"call": 1, "bytes": 1},
    "window of ours": {"call": 2, "bytes": 1},
    "ping": {"token": 1},
    "pong": {"token": 1},
    "goodbye done": {"code": "done"},
    "goodbye internal": {"code": "internal"},
}
TABLE = {
    #                    hello      login     open        after an end
    "hello":            ("hello",   L,        U,          None),
    "open of theirs":   (U,         L,        "opened",   None),
    "open of a login":  (U,         "opened", "opened",   None),
    "open of ours":     (U,         L,        "call-number", None),
    "data":             (U,         L,        None,       None),
    "data of ours":     (U,         L,        None,       None),
    "reply of theirs":  (U,         L,        U,          None),
    "reply of ours":    (U,         L,        "replied",  None),
    "error of theirs":  (U,         L,        U,          None),
    "error of ours":    (U,         L,        "failed",   None),
    "cancel of theirs": (U,         L,        "cancelled", None),
    "cancel of ours":   (U,         L,        U,          None),
    "window":           (U,         L,        None,       None),
    "window of ours":   (U,         L,        None,       None),
    "ping":             (U,         L,        None,       None),
    "pong":             (U,         L,        "pong",     None),
    "goodbye done":     ("goodbye", "goodbye", "goodbye", None),
    "goodbye internal": ("goodbye", "goodbye", "goodbye", None),
}  # fmt: skip


def side_in(role: Role, phase: str) -> Side:
    if phase == "hello":
        return Side(role, hello=None)
    if phase == "login":
        return Side(role, auth=["x"])
    side = Side(role)
    mine, theirs = (2, 1) if role is Role.SERVER else (1, 2)
    side.do("open", op="x")
    side.receive(frame("open", call=theirs, op="x"))
    assert side.calls.keys() == {mine, theirs}
    if phase == "after an end":
        side.refuses(b"\0\0\0\0")
    side.sent()
    return side


def table_cases() -> list[Any]:
    phases = ("hello", "login", "open", "after an end")
    return [
        pytest.param(role, phase, name, outcome, id=f"{role.value} {phase}: {name}")
        for name, outcomes in TABLE.items()
        for phase, outcome in zip(phases, outcomes, strict=True)
        for role in Role
        # A client does not ask anybody to log in.
        if (role, phase) != (Role.CLIENT, "login")
    ]


@pytest.mark.parametrize(("role", "phase", "name", "outcome"), table_cases())
def test_what_may_come_when(role: Role, phase: str, name: str, outcome: str | None) -> None:
    fields = dict(MESSAGES[name])
    if role is Role.CLIENT and "call" in fields:
        # The same calls with the parity of the other side.
        fields["call"] += 1 if fields["call"] % 2 else -1
    message = frame(name.split()[0], **fields)
    side = side_in(role, phase)
    if outcome in set(GoodbyeCode):
        assert side.refuses(message) == outcome
        assert side.connection.phase is Phase.CLOSED
    else:
        happened = [event["event"] for event in side.receive(message)]
        assert [event for event in happened if event != "body"] == ([outcome] if outcome else [])


def test_every_message_and_phase_is_in_the_table() -> None:
    assert TABLE.keys() == MESSAGES.keys()
    kinds = {name.split()[0] for name in TABLE}
    assert kinds == {
        "hello", "open", "data", "reply", "error", "cancel", "window", "ping", "pong", "goodbye",
    }  # fmt: skip


# Phases


def test_the_phases_of_a_server() -> None:
    side = Side(Role.SERVER, auth=["token"], hello=None)
    phases = [side.connection.phase]
    side.receive(HELLO)
    phases.append(side.connection.phase)
    side.connection.accept_login()
    phases.append(side.connection.phase)
    side.connection.goodbye(GoodbyeCode.SHUTTING_DOWN, "bye")
    phases.append(side.connection.phase)
    side.connection.goodbye(GoodbyeCode.REVOKED, "bye")
    phases.append(side.connection.phase)
    assert phases == [
        Phase.AWAITING_HELLO,
        Phase.AWAITING_LOGIN,
        Phase.OPEN,
        Phase.OPEN,
        Phase.CLOSED,
    ]


@pytest.mark.parametrize(("role", "auth"), [(Role.CLIENT, []), (Role.SERVER, [])])
def test_nobody_logs_in_where_nobody_asks(role: Role, auth: list[str]) -> None:
    assert Side(role, auth=auth).connection.phase is Phase.OPEN


def test_a_login_cannot_open_what_is_closed() -> None:
    side = Side(Role.SERVER, auth=["token"])
    side.connection.goodbye(GoodbyeCode.LOGIN_FAILED, "too many")
    side.connection.accept_login()
    assert side.connection.phase is Phase.CLOSED
    assert side.receive(frame("open", call=1, op="echo")) == []


def test_longer_headers_are_accepted_from_the_login_on() -> None:
    """Within one delivery, too: the events come one by one."""
    side = Side(Role.SERVER, auth=["token"])
    padded = frame_bytes('{"type":"ping","token":1}' + " " * 5000)
    login = frame("open", call=1, op="auth.token", end=True)
    events = side.connection.receive(login + padded)
    next(events)
    side.connection.accept_login()
    assert list(events) == []
    assert [sent.header["type"] for sent in side.sent()] == ["pong"]
    too_early = Side(Role.SERVER, auth=["token"])
    with pytest.raises(ProtocolError, match="1 to 4096 are accepted"):
        list(too_early.connection.receive(login + padded))


def test_nothing_is_read_after_a_goodbye_of_ours_within_a_delivery() -> None:
    side = Side()
    events = side.connection.receive(
        frame("pong", token=1) + frame("pong", token=2) + b"\0\0\0\0" + frame("data", call=99)
    )
    next(events)
    side.connection.goodbye(GoodbyeCode.REVOKED, "bye")
    assert list(events) == []
    assert list(side.connection.receive(frame("pong", token=3))) == []


def test_the_rest_of_a_body_means_nothing_after_the_end() -> None:
    side = Side()
    side.receive(frame("open", b"12345", call=1, op="x")[:-3])
    side.connection.goodbye(GoodbyeCode.REVOKED, "bye")
    assert side.receive(b"345" + frame("pong", token=1)) == []


# Limits, at the last value that is accepted and at the first that is not

LIMITS = Limits(max_body_bytes=50, window_bytes=100, max_calls=3, max_header_bytes=5000)


def test_the_longest_header() -> None:
    side = Side(limits=LIMITS)
    ping = '{"type":"ping","token":1}'
    assert side.receive(frame_bytes(ping + " " * (5000 - len(ping)))) == []
    assert side.refuses(frame_bytes(ping + " " * (5001 - len(ping)))) is GoodbyeCode.BAD_FRAME


def test_the_largest_body_of_a_frame() -> None:
    side = Side(limits=LIMITS)
    side.receive(frame("open", bytes(50), call=1, op="x"))
    assert side.refuses(frame("data", bytes(51), call=1)) is GoodbyeCode.BAD_FRAME


def test_the_window() -> None:
    side = Side(limits=LIMITS)
    side.receive(frame("open", bytes(50), call=1, op="x"), frame("data", bytes(50), call=1))
    assert side.refuses(frame("data", bytes(1), call=1)) is GoodbyeCode.FLOW_CONTROL


def test_each_call_and_direction_has_a_window_of_its_own() -> None:
    side = Side(limits=LIMITS)
    side.do("open", op="x")
    for call in (1, 3):
        side.receive(frame("open", bytes(50), call=call, op="x"))
        side.receive(frame("data", bytes(50), call=call))
    side.receive(frame("data", bytes(50), call=2), frame("reply", bytes(50), call=2))


def test_the_most_calls() -> None:
    side = Side(limits=LIMITS)
    for call in (1, 3, 5):
        assert side.receive(frame("open", call=call, op="x"))
    assert side.sent() == []
    assert side.receive(frame("open", b"body", call=7, op="x")) == []
    (refusal,) = side.sent()
    assert (refusal.header["call"], refusal.header["code"]) == (7, "too-many-calls")
    side.do("reply", call=3)
    assert side.receive(frame("open", call=9, op="x"))


def test_a_call_counts_until_its_end_has_been_framed() -> None:
    """A reply that waits for credit holds its place, on both sides alike."""
    side = Side(limits=attrs.evolve(LIMITS, max_calls=1))
    side.receive(frame("open", call=1, op="x"))
    side.do("reply", call=1, body=bytes(1500))
    assert len(b"".join(sent.body for sent in side.sent())) == 1000
    side.receive(frame("open", call=3, op="x"))
    assert [sent.header.get("code") for sent in side.sent()] == ["too-many-calls"]
    side.receive(frame("window", call=1, bytes=500))
    assert side.sent()[-1].header["type"] == "reply"
    assert side.receive(frame("open", call=5, op="x"))


def test_the_calls_that_the_peer_takes() -> None:
    side = Side(Role.CLIENT)
    for _ in range(4):
        assert side.connection.can_open()
        side.do("open", op="x")
    assert not side.connection.can_open()
    side.do("cancel", call=1)
    assert not side.connection.can_open()
    side.receive(frame("error", call=1, code="cancelled"))
    assert side.connection.can_open()


def hello_with(**limits: int) -> bytes:
    return frame("hello", version=1, limits=limits)


def padded(length: int) -> Raw:
    return encode_value("x" * (length - 2))


def test_the_longest_header_that_the_peer_takes() -> None:
    side = Side(hello=hello_with(max_header_bytes=5000, max_body_bytes=100))
    side.receive(frame("open", call=1, op="x"))
    call = side.calls[1]
    bare = len('{"type":"reply","call":1,"result":,"size":10}')
    with pytest.raises(MessageTooLarge, match="the result would make a header of 5001 bytes"):
        side.connection.reply(call, padded(5001 - bare), b"0123456789")
    side.connection.reply(call, padded(5000 - bare), b"0123456789")
    (sent,) = side.sent()
    assert len(frame_bytes(sent.header)) >= 5000
    with pytest.raises(MessageTooLarge, match="the arguments would make a header of"):
        side.connection.open("x", padded(5000), timeout_seconds=None, body=b"", end=True)
    side.connection.open("x", padded(4900), timeout_seconds=None, body=b"", end=True)


@pytest.mark.parametrize(("body", "rides"), [(0, True), (1, True), (16_384, True), (16_385, False)])
def test_what_may_ride_with_an_open(body: int, rides: bool) -> None:
    side = Side(hello=hello_with(window_bytes=100_000, max_body_bytes=100_000))
    side.do("open", op="x", body=bytes(body), end=True)
    first, *rest = side.sent()
    assert (len(first.body), first.header.get("end")) == ((body, True) if rides else (0, None))
    assert sum(len(sent.body) for sent in rest) == (0 if rides else body)
    assert [first, *rest][-1].header["end"] is True


@pytest.mark.parametrize("limit", ["window_bytes", "max_body_bytes"])
def test_what_may_ride_with_an_open_to_a_small_peer(limit: str) -> None:
    side = Side(hello=hello_with(**{limit: 10}))
    side.do("open", op="x", body=bytes(10), end=True)
    assert [len(sent.body) for sent in side.sent()] == [10]
    side.do("open", op="x", body=bytes(11), end=True)
    assert [len(sent.body) for sent in side.sent()][:2] == [0, 10]


def test_opens_do_not_pile_up_bodies() -> None:
    """When nothing is taken, the bodies of opens wait in their calls, not as frames."""
    side = Side(hello=hello_with(window_bytes=100_000, max_body_bytes=100_000, max_calls=1000))
    for _ in range(100):
        side.do("open", op="x", body=bytes(16_384), end=True)
    assert side.connection.unsent_bytes < 100_000
    assert sum(len(sent.body) for sent in side.sent()) == 100 * 16_384


# Errors must arrive

HARD_TO_SAY = [
    InternalError("x" * 10_000),
    InternalError("\udcff\ud800 \0 \U0001f600" * 500),
    InternalError("x", details={"a": "x" * 100_000}),
    InternalError("x", details={"a": object()}),
    InternalError("x", details={"a": "\udcff"}),
    InternalError(
        "x", details={"a": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}
    ),
]


@pytest.mark.parametrize("error", HARD_TO_SAY)
def test_an_error_reaches_its_caller_whatever_it_says(error: CallError) -> None:
    caller, callee = Side(Role.CLIENT), Side(hello=hello_with(max_header_bytes=4096))
    caller.do("open", op="x")
    callee.receive(frame("open", call=1, op="x"))
    callee.connection.fail(callee.calls[1], error)
    stream = in_one_piece(callee.connection.data_to_send())
    assert len(stream) <= 4 + 4096
    (failed,) = caller.receive(stream)
    assert (failed["event"], failed["code"], failed["details"]) == ("failed", "internal", {})


def test_a_goodbye_fits_whatever_it_says() -> None:
    side = Side()
    side.connection.goodbye(GoodbyeCode.REVOKED, "\0" * 10_000)
    assert len(in_one_piece(side.connection.data_to_send())) <= 4 + 4096


# The program that uses a connection


def test_what_is_done_to_an_ended_call_is_nothing() -> None:
    side = Side(Role.CLIENT)
    side.do("open", op="x")
    side.receive(frame("reply", call=1), frame("open", call=2, op="x"))
    side.do("reply", call=2)
    side.sent()
    for action, given in (
        ("send", {"body": b"more", "end": True}),
        ("cancel", {}),
        ("reply", {}),
        ("fail", {"code": "internal"}),
    ):
        for call in (1, 2) if action in ("send", "cancel") else (2,):
            side.do(action, call=call, **given)
    assert side.sent() == []
    assert not side.connection.has_data_to_send


def test_the_first_answer_counts() -> None:
    side = Side()
    side.receive(frame("open", call=1, op="x"))
    side.do("reply", call=1, body=bytes(5000))
    side.do("fail", call=1, code="internal")
    side.do("reply", call=1)
    assert [sent.header["type"] for sent in side.sent()] == ["error"]


def test_ending_all_calls() -> None:
    side = Side()
    side.do("open", op="x", body=bytes(5000))
    side.receive(frame("open", call=1, op="x"))
    side.do("send", call=1, body=bytes(5000))
    side.connection.data_to_send()
    ended = side.connection.end_calls()
    assert {call.number for call in ended} == {1, 2}
    assert all(call.is_ended and not call.queued_bytes for call in ended)
    assert side.sent() == []
    assert side.connection.end_calls() == []
    assert side.receive(frame("window", call=1, bytes=5000)) == []
    assert side.sent() == []


def test_credit_is_returned_when_half_the_window_is_consumed() -> None:
    side = Side(limits=LIMITS)
    side.receive(frame("open", bytes(50), call=1, op="x"))
    side.do("consume", call=1, bytes=49)
    assert side.sent() == []
    side.do("consume", call=1, bytes=1)
    assert side.sent() == [Frame({"type": "window", "call": 1, "bytes": 50})]


def test_no_credit_is_returned_for_what_has_ended() -> None:
    side = Side(limits=LIMITS)
    side.receive(frame("open", bytes(50), call=1, op="x", end=True))
    side.do("consume", call=1, bytes=50)
    assert side.sent() == []


@pytest.mark.parametrize("size", [0, 1, 10])
def test_a_message_takes_effect_with_the_last_byte_of_its_body(size: int) -> None:
    side = Side()
    stream = frame("open", bytes(size), call=1, op="x", end=True)
    if size:
        assert all(not event.get("end") for event in side.receive(stream[:-1]))
    else:
        assert side.receive(stream[:-1]) == []
    assert side.receive(stream[-1:])[-1]["end"] is True


def test_drained_calls_are_told_once() -> None:
    side = Side()
    side.receive(frame("open", call=1, op="x"))
    side.do("send", call=1, body=bytes(1001))
    side.connection.data_to_send()
    assert {call.number for call in side.connection.take_drained()} == {1}
    assert side.connection.take_drained() == []


def test_where_the_stream_may_end() -> None:
    side = Side()
    stream = frame("open", b"ab", call=1, op="x")
    for stop in range(1, len(stream)):
        fresh = Side()
        fresh.receive(stream[:stop])
        assert not fresh.connection.is_between_frames
        assert fresh.connection.is_inside_header == (stop < len(stream) - 2)
    side.receive(stream)
    assert side.connection.is_between_frames


def test_what_is_sent_is_what_is_counted() -> None:
    connection = Connection(Role.CLIENT, Limits())
    connection.start("x")
    unsent = connection.unsent_bytes
    assert unsent == len(in_one_piece(connection.data_to_send())) == connection.taken_bytes
    assert connection.unsent_bytes == 0
