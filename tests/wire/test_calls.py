"""The call table: numbers, and who opened what."""

from __future__ import annotations

import pytest

from sockserv.errors import GoodbyeCode, ProtocolError
from sockserv.wire.calls import CallState, CallTable
from sockserv.wire.messages import MAX_INTEGER, Open


def make_table(*, is_client: bool = False, window_bytes: int = 10) -> CallTable:
    return CallTable(is_client=is_client, window_bytes=window_bytes)


def opening(table: CallTable, number: int, *, size: int = 0) -> CallState:
    call = table.new_incoming(Open(number, "x", size=size), b"", size, 5)
    table.incoming[number] = call
    return call


def code_of(table: CallTable, number: int, *, size: int = 0) -> GoodbyeCode:
    with pytest.raises(ProtocolError) as caught:
        opening(table, number, size=size)
    return caught.value.code


@pytest.mark.parametrize(("is_client", "numbers"), [(True, [1, 3, 5]), (False, [2, 4, 6])])
def test_the_numbers_of_ours(is_client: bool, numbers: list[int]) -> None:
    table = make_table(is_client=is_client)
    calls = [table.new_outgoing(7) for _ in numbers]
    assert [call.number for call in calls] == numbers
    assert table.outgoing == dict(zip(numbers, calls, strict=True))
    assert all(call.is_ours and table.is_ours(call.number) for call in calls)
    assert {call.send_credit for call in calls} == {7}
    assert {call.receive_credit for call in calls} == {10}


@pytest.mark.parametrize("is_client", [True, False])
def test_the_numbers_of_the_peer(is_client: bool) -> None:
    table = make_table(is_client=is_client)
    odd = 0 if is_client else 1
    for number in (6 + odd, 8 + odd, MAX_INTEGER - 1 + odd):
        call = opening(table, number)
        assert not call.is_ours
        assert not table.is_ours(number)
        assert table.find(number) is call
    for number in (2 + odd, 6 + odd, MAX_INTEGER - 1 + odd, 7 - odd, MAX_INTEGER - odd):
        assert code_of(table, number) is GoodbyeCode.CALL_NUMBER


@pytest.mark.parametrize("is_client", [True, False])
def test_finding(is_client: bool) -> None:
    table = make_table(is_client=is_client)
    for number in (1, 2, MAX_INTEGER):
        with pytest.raises(ProtocolError) as caught:
            table.find(number)
        assert caught.value.code is GoodbyeCode.UNKNOWN_CALL
    ours = table.new_outgoing(1)
    theirs = opening(table, 10 if is_client else 11)
    for call in (ours, theirs):
        assert table.find(call.number) is call
        table.remove(call)
        assert call.is_ended
        assert table.find(call.number) is None
    # A gap was never used, and cannot be any more.
    assert table.find(theirs.number - 2) is None
    assert table.incoming == table.outgoing == {}


@pytest.mark.parametrize(("size", "left"), [(0, 10), (9, 1), (10, 0)])
def test_the_first_bytes_take_credit(size: int, left: int) -> None:
    call = opening(make_table(), 1, size=size)
    assert (call.receive_credit, call.send_credit) == (left, 5)


def test_the_first_bytes_stay_within_the_window() -> None:
    assert code_of(make_table(), 1, size=11) is GoodbyeCode.FLOW_CONTROL


def test_credit() -> None:
    table = make_table()
    call = opening(table, 1)
    table.take_credit(call, 0)
    table.take_credit(call, 4)
    table.take_credit(call, 6)
    table.take_credit(call, 0)
    with pytest.raises(ProtocolError) as caught:
        table.take_credit(call, 1)
    assert caught.value.code is GoodbyeCode.FLOW_CONTROL
    call.is_receiving = False
    with pytest.raises(ProtocolError) as caught:
        table.take_credit(call, 0)
    assert caught.value.code is GoodbyeCode.UNEXPECTED_MESSAGE


def test_the_classes_of_calls() -> None:
    class Theirs(CallState, eq=False):
        """What the peer opens."""

    class Ours(CallState, eq=False):
        """What we open."""

    table = CallTable(is_client=True, window_bytes=1, incoming_class=Theirs, outgoing_class=Ours)
    assert type(opening(table, 2)) is Theirs
    assert type(table.new_outgoing(1)) is Ours
    assert repr(table.outgoing[1]) == "<call 1>"
