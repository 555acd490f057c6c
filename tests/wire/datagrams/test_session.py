"""A session of two ends: its opening, its messages, its paths, its end."""

from __future__ import annotations

import pytest

from sockserv.errors import MessageTooLarge, NoRoom, SessionOver
from sockserv.limits import DatagramLimits
from sockserv.wire.connection import Role
from sockserv.wire.datagrams.drops import DropReason
from sockserv.wire.datagrams.events import (
    AddressChanged,
    DeliveryState,
    FailureReason,
    MessageAcknowledged,
    MessageReceived,
    MessageUndelivered,
    SessionEnded,
)
from sockserv.wire.datagrams.incoming import MAX_AHEAD_MESSAGES
from sockserv.wire.datagrams.layout import (
    MAX_DATAGRAM_BYTES,
    MAX_MESSAGE_BYTES,
    Ack,
    ack_part,
    message_part,
)
from sockserv.wire.datagrams.sealing import MAX_DATAGRAMS, Sealer, SessionKeys
from sockserv.wire.datagrams.session import MAX_STREAMS
from sockserv.wire.datagrams.timing import FIRST_WINDOW_BYTES
from tests.wire.datagrams.pair import (
    CLIENT,
    KEYS,
    PLAIN,
    SERVER,
    Pair,
    bodies,
    client_session,
    server_session,
)

ELSEWHERE = ("198.51.100.7", 4000)


# Opening


@pytest.mark.parametrize("keys", [KEYS, PLAIN])
def test_both_ends_learn_that_datagrams_go_through(keys: SessionKeys) -> None:
    pair = Pair(keys)
    assert pair.client.is_open
    assert pair.server.is_open
    assert pair.server.address == CLIENT


def test_a_client_that_is_not_answered_asks_often_and_then_says_so() -> None:
    client = client_session()
    asked = 0
    message = client.send(1, b"not sent before it is known that it would arrive", 0.0)
    now = 0.0
    while client.ended_by is None:
        asked += len(client.data_to_send(now))
        at = client.next_timeout()
        assert at is not None
        now = at
        events = client.handle_timeout(now)
    assert now == 5.0
    assert 5 <= asked <= 10
    assert events == [
        MessageUndelivered(message, FailureReason.UNREACHABLE),
        SessionEnded(FailureReason.UNREACHABLE),
    ]
    assert not message.was_sent


def test_nothing_but_a_challenge_goes_to_an_address_that_is_not_proved() -> None:
    pair = Pair(is_open=False)
    pair.server.send(1, b"hello" * 100, 0.0)
    assert pair.from_server() == []
    (asked,) = pair.from_client()
    pair.to_server(asked, address=ELSEWHERE)
    ((address, challenge),) = pair.server.data_to_send(pair.now)
    assert address == ELSEWHERE
    assert len(challenge) <= len(asked)
    assert pair.content_of(challenge, Role.SERVER).challenge
    assert pair.server.data_to_send(10.0) == []
    assert not pair.server.is_open


def test_a_challenge_is_for_the_address_that_it_went_to() -> None:
    pair = Pair(is_open=False)
    pair.to_server(*pair.from_client(), address=ELSEWHERE)
    pair.to_client(*pair.from_server())
    (answer,) = pair.from_client()
    assert pair.to_server(answer, address=CLIENT) == []
    assert not pair.server.is_open


def test_an_address_is_asked_once_for_a_datagram_and_not_too_often() -> None:
    pair = Pair(is_open=False)
    challenges = 0
    for step in range(50):
        pair.now = step * 0.01
        sealed = pair.client._sealer.seal(b"\x01".ljust(9, b"\0"))
        pair.to_server(sealed)
        challenges += len(pair.from_server())
    assert 1 <= challenges <= 5


def test_a_lost_answer_to_a_challenge_is_made_up_for() -> None:
    pair = Pair(is_open=False)
    pair.to_server(*pair.from_client())
    pair.to_client(*pair.from_server())
    assert pair.client.is_open
    pair.from_client()
    pair.wait(2.0)
    assert pair.server.is_open


def test_a_datagram_of_a_client_is_never_smaller_than_a_challenge() -> None:
    pair = Pair()
    pair.server.send(1, b"", pair.now)
    pair.to_client(*pair.from_server())
    pair.now += 1
    (ack,) = pair.from_client()
    assert len(ack) >= 42


# Messages


def test_messages_go_both_ways_in_one_datagram() -> None:
    pair = Pair()
    sent = [pair.client.send(1, b"one", pair.now), pair.client.send(2, b"two", pair.now)]
    assert {message.state for message in sent} == {DeliveryState.QUEUED}
    (datagram,) = pair.from_client()
    assert {message.state for message in sent} == {DeliveryState.SENT}
    assert pair.to_server(datagram) == [
        MessageReceived(1, 1, b"one"),
        MessageReceived(2, 1, b"two"),
    ]
    pair.server.send(1, b"three", pair.now)
    (answer,) = pair.from_server()
    assert pair.to_client(answer) == [
        *(MessageAcknowledged(message) for message in sent),
        MessageReceived(1, 1, b"three"),
    ]
    assert {message.state for message in sent} == {DeliveryState.ACKNOWLEDGED}


@pytest.mark.parametrize("size", [0, 1, MAX_MESSAGE_BYTES - 1, MAX_MESSAGE_BYTES])
def test_messages_of_every_size(size: int) -> None:
    pair = Pair()
    for _ in range(20):
        pair.client.send(1, bytes(size), pair.now)
        pair.server.send(1, bytes(size), pair.now)
    for data in pair.from_client() + pair.from_server():
        assert len(data) <= MAX_DATAGRAM_BYTES
    pair.wait(5.0)
    assert bodies(pair.client_events) == bodies(pair.server_events) == [bytes(size)] * 20


def test_a_message_that_is_too_long() -> None:
    pair = Pair()
    with pytest.raises(MessageTooLarge, match="send it over the connection"):
        pair.client.send(1, bytes(MAX_MESSAGE_BYTES + 1), pair.now)


@pytest.mark.parametrize("stream", [-1, 2**32])
def test_a_stream_that_is_none(stream: int) -> None:
    with pytest.raises(ValueError, match=f"the stream is {stream}"):
        Pair().client.send(stream, b"", 0.0)


def test_the_queue_has_an_end_and_says_so() -> None:
    pair = Pair(limits=DatagramLimits(max_queued_messages=3))
    for _ in range(3):
        pair.client.send(1, b"x", pair.now)
    with pytest.raises(NoRoom, match="3 messages"):
        pair.client.send(1, b"x", pair.now)
    pair.wait(1.0)
    pair.client.send(1, b"x", pair.now)
    assert pair.client.waiting_messages == 1


def test_the_bytes_of_the_queue_have_an_end() -> None:
    pair = Pair(limits=DatagramLimits(max_queued_bytes=1000))
    pair.client.send(1, bytes(999), pair.now)
    pair.client.send(1, bytes(1), pair.now)
    with pytest.raises(NoRoom, match="1000 bytes"):
        pair.client.send(1, b"x", pair.now)


def test_the_streams_have_an_end() -> None:
    pair = Pair(limits=DatagramLimits(max_queued_messages=2000))
    for stream in range(MAX_STREAMS[Role.CLIENT]):
        pair.client.send(stream, b"", pair.now)
    with pytest.raises(NoRoom, match="1024 streams"):
        pair.client.send(2000, b"", pair.now)
    pair.wait(2.0)
    assert len(bodies(pair.server_events)) == 1024
    pair.client.send(5, b"one that is there", pair.now)


def test_what_was_lost_is_sent_again() -> None:
    pair = Pair()
    first = pair.client.send(1, b"one", pair.now)
    pair.from_client()
    assert pair.client.session_id == KEYS.session_id
    pair.wait(1.0)
    assert bodies(pair.server_events) == [b"one"]
    assert MessageAcknowledged(first) in pair.client_events


def test_what_was_overtaken_is_handed_on_in_order() -> None:
    pair = Pair()
    pair.client.send(1, b"one", pair.now)
    late = pair.from_client()
    pair.client.send(1, b"two", pair.now)
    pair.client.send(2, b"another stream waits for nobody", pair.now)
    assert bodies(pair.to_server(*pair.from_client())) == [b"another stream waits for nobody"]
    assert bodies(pair.to_server(*late)) == [b"one", b"two"]


def test_a_datagram_that_comes_twice_is_taken_once() -> None:
    pair = Pair()
    pair.client.send(1, b"one", pair.now)
    (data,) = pair.from_client()
    assert len(pair.to_server(data, data)) == 1
    assert pair.server.drops == {DropReason.REPLAYED: 1}


def test_a_message_that_was_sent_twice_is_taken_once() -> None:
    pair = Pair()
    pair.client.send(1, b"one", pair.now)
    first = pair.from_client()
    pair.now += 2
    pair.client.handle_timeout(pair.now)
    again = pair.from_client()
    assert again != first
    assert len(bodies(pair.to_server(*first, *again))) == 1


def test_an_acknowledgement_waits_for_company() -> None:
    pair = Pair()
    pair.client.send(1, b"one", pair.now)
    pair.to_server(*pair.from_client())
    assert pair.from_server() == []
    assert pair.server.next_timeout() == pair.now + 0.025


def test_a_burst_is_held_back_by_the_window() -> None:
    pair = Pair(limits=DatagramLimits(max_queued_bytes=10**7))
    for _ in range(400):
        pair.client.send(1, bytes(1000), pair.now)
    assert sum(map(len, pair.from_client())) - FIRST_WINDOW_BYTES in range(MAX_DATAGRAM_BYTES)
    pair.wait(3.0)
    assert len(bodies(pair.server_events)) == 400


def test_no_message_is_sent_too_far_ahead_of_one_that_is_missing() -> None:
    pair = Pair(limits=DatagramLimits(max_queued_messages=5000, max_queued_bytes=10**7))
    for number in range(2000):
        pair.client.send(number % 3, str(number).encode(), pair.now)
    missing, *others = pair.from_client()
    for _ in range(20):
        pair.to_server(*others)
        pair.now += 0.03
        pair.to_client(*pair.from_server())
        others = [
            data
            for data in pair.from_client()
            if (0, 1, b"0") not in pair.content_of(data, Role.CLIENT).messages
        ]
    assert not bodies(pair.server_events) or pair.server._incoming.waiting_messages
    assert pair.server._incoming.waiting_messages < MAX_AHEAD_MESSAGES
    assert pair.server.drops[DropReason.EXCESSIVE] == 0
    pair.to_server(missing)
    pair.wait(10.0)
    assert len(bodies(pair.server_events)) == 2000


# What is not right


def test_what_is_dropped_changes_nothing() -> None:
    pair = Pair()
    good = Sealer(KEYS, Role.CLIENT)
    good.counter = 100
    datagrams = [
        good.seal(b"\x99"),
        good.seal(message_part(1, 1, b"x") + b"\x05"),
        good.seal(ack_part(Ack(10**9, 0.0, 1))),
        good.seal(b"".join(message_part(s, 1, b"") for s in range(100)))[:-1],
    ]
    before = pair.server.next_timeout()
    assert pair.to_server(*datagrams, address=ELSEWHERE) == []
    assert pair.server.data_to_send(pair.now) == []
    assert pair.server.next_timeout() == before
    assert pair.server.drops == {DropReason.MALFORMED: 3, DropReason.FORGED: 1}
    pair.client.send(1, b"x", pair.now)
    assert bodies(pair.to_server(*pair.from_client())) == [b"x"]


def test_a_peer_that_opens_too_many_streams() -> None:
    pair = Pair()
    sealer = pair.client._sealer
    for first in range(0, 1024, 64):
        pair.to_server(sealer.seal(b"".join(message_part(first + s, 1, b"") for s in range(64))))
    assert len(bodies(pair.server_events)) == 1024
    assert pair.to_server(sealer.seal(message_part(5000, 1, b""))) == []
    assert pair.server.drops == {DropReason.EXCESSIVE: 1}
    assert bodies(pair.to_server(sealer.seal(message_part(3, 2, b"on")))) == [b"on"]


def test_a_peer_that_sends_too_far_ahead() -> None:
    pair = Pair()
    sealer = pair.client._sealer
    for number in range(2, 2 + MAX_AHEAD_MESSAGES):
        assert pair.to_server(sealer.seal(message_part(1, number, b"x"))) == []
    assert pair.server.drops == {}
    pair.to_server(sealer.seal(message_part(1, 10_000, b"x")))
    assert pair.server.drops == {DropReason.EXCESSIVE: 1}
    assert len(pair.to_server(sealer.seal(message_part(1, 1, b"x")))) == MAX_AHEAD_MESSAGES + 1


def test_a_number_far_beyond_costs_nothing() -> None:
    pair = Pair()
    assert pair.to_server(pair.client._sealer.seal(message_part(1, 2**32 - 1, b"x"))) == []


# Another address


def moved(pair: Pair) -> None:
    pair.client_address = ELSEWHERE


def test_a_client_that_moves_is_followed_when_it_has_proved_it() -> None:
    pair = Pair()
    moved(pair)
    pair.client.send(1, b"from elsewhere", pair.now)
    assert bodies(pair.to_server(*pair.from_client())) == [b"from elsewhere"]
    assert pair.server.address == CLIENT
    ((address, challenge),) = pair.server.data_to_send(pair.now)
    assert address == ELSEWHERE
    pair.to_client(challenge)
    assert pair.to_server(*pair.from_client()) == [AddressChanged(ELSEWHERE)]
    assert pair.server.address == ELSEWHERE


def test_what_went_to_the_old_address_is_sent_again_at_once() -> None:
    pair = Pair()
    pair.server.send(1, b"to the old address", pair.now)
    pair.from_server()
    moved(pair)
    pair.client.send(1, b"x", pair.now)
    pair.exchange()
    assert bodies(pair.client_events) == [b"to the old address"]


def test_an_old_datagram_moves_nobody() -> None:
    pair = Pair()
    pair.client.send(1, b"old", pair.now)
    held_back = pair.from_client()
    pair.client.send(1, b"new", pair.now)
    pair.to_server(*pair.from_client())
    pair.to_server(*held_back, address=ELSEWHERE)
    assert all(address == CLIENT for address, _ in pair.server.data_to_send(pair.now + 1))


def test_a_forged_datagram_moves_nobody() -> None:
    pair = Pair()
    pair.client.send(1, b"x", pair.now)
    (data,) = pair.from_client()
    pair.to_server(data[:-1] + b"?", address=ELSEWHERE)
    assert pair.server.data_to_send(pair.now + 1) == []


def test_a_client_that_is_back_is_not_asked() -> None:
    pair = Pair()
    pair.client.send(1, b"x", pair.now)
    pair.to_server(*pair.from_client(), address=ELSEWHERE)
    pair.client.send(1, b"y", pair.now)
    pair.to_server(*pair.from_client())
    assert all(address == CLIENT for address, _ in pair.server.data_to_send(pair.now))
    assert pair.server.address == CLIENT


# Silence, and the end


def test_an_idle_session_sends_one_datagram_in_ten_seconds_at_most() -> None:
    pair = Pair()
    first = pair.client._sealer.counter + pair.server._sealer.counter
    pair.wait(1000.0)
    sent = pair.client._sealer.counter + pair.server._sealer.counter - first
    assert 50 <= sent <= 100
    assert not pair.client.ended_by
    assert not pair.server.ended_by


def test_a_path_that_is_lost_ends_both_ends() -> None:
    pair = Pair()
    sent = pair.client.send(1, b"lost", pair.now)
    queued = [pair.client.send(1, bytes(1000), pair.now) for _ in range(30)]
    pair.wait(100.0, exchange=False)
    assert pair.client_events[-1] == SessionEnded(FailureReason.PATH_LOST)
    assert pair.server_events == [SessionEnded(FailureReason.PATH_LOST)]
    told = [e.message for e in pair.client_events if isinstance(e, MessageUndelivered)]
    assert sorted(map(id, told)) == sorted(map(id, [sent, *queued]))
    assert sent.was_sent
    assert not queued[-1].was_sent
    assert pair.client.next_timeout() is None
    assert pair.client.data_to_send(pair.now) == []


def test_a_partition_that_heals_costs_nothing_but_time() -> None:
    pair = Pair()
    pair.client.send(1, b"one", pair.now)
    pair.server.send(1, b"two", pair.now)
    pair.wait(25.0, exchange=False)
    pair.wait(4.0)
    assert bodies(pair.server_events) == [b"one"]
    assert bodies(pair.client_events) == [b"two"]


def test_a_message_that_never_gets_its_turn_expires_alone() -> None:
    """The server has nobody to send to for as long; the client comes in the end."""
    pair = Pair(is_open=False)
    early = pair.server.send(1, b"early", 0.0)
    pair.now = 29.0
    late = pair.server.send(1, b"late", pair.now)
    assert pair.server.next_timeout() == 30.0
    assert pair.server.handle_timeout(30.0) == [MessageUndelivered(early, FailureReason.EXPIRED)]
    pair.client = client_session()
    pair.client._began_at = 30.0
    pair.now = 30.0
    pair.exchange()
    assert bodies(pair.client_events) == [b"late"]
    assert late.number == 1
    assert not early.was_sent


def test_a_key_that_is_worn_out_ends_the_session() -> None:
    pair = Pair()
    pair.client._sealer.counter = MAX_DATAGRAMS - 1
    last = pair.client.send(1, b"x", pair.now)
    assert len(pair.from_client()) == 1
    assert pair.from_client() == []
    assert pair.client.next_timeout() is not None
    assert pair.client.handle_timeout(pair.now) == [
        MessageUndelivered(last, FailureReason.WORN_OUT),
        SessionEnded(FailureReason.WORN_OUT),
    ]


def test_a_stream_without_numbers_ends_the_session() -> None:
    pair = Pair()
    pair.client.send(1, b"x", pair.now)
    pair.client._outbox._numbers[1] = 2**32 - 1
    assert pair.from_client() == []
    assert pair.client.handle_timeout(pair.now)[-1] == SessionEnded(FailureReason.WORN_OUT)


def test_a_session_that_is_closed_says_what_was_not_delivered() -> None:
    pair = Pair()
    message = pair.client.send(1, b"x", pair.now)
    assert pair.client.close() == [
        MessageUndelivered(message, FailureReason.CLOSED),
        SessionEnded(FailureReason.CLOSED),
    ]
    assert pair.client.close() == []
    assert pair.client.handle_timeout(pair.now) == []
    assert pair.client.receive_datagram(b"anything", SERVER, pair.now) == []
    with pytest.raises(SessionOver, match="closed"):
        pair.client.send(1, b"x", pair.now)


def test_an_address_is_given_to_a_client_alone() -> None:
    with pytest.raises(ValueError, match="a client is given the address"):
        server_session(address=CLIENT)


def test_a_round_trip_is_measured_without_the_delay_of_the_acknowledgement() -> None:
    pair = Pair()
    for _ in range(20):
        pair.client.send(1, b"x", pair.now)
        data = pair.from_client()
        pair.now += 0.05
        pair.to_server(*data)
        pair.now += 0.025
        data = pair.from_server()
        pair.now += 0.05
        pair.to_client(*data)
    assert pair.client.round_trip_seconds == pytest.approx(0.1, abs=0.02)


def test_a_message_that_never_gets_through_ends_a_session_in_which_others_do() -> None:
    """Where large datagrams do not pass, and small ones do."""
    pair = Pair()
    large = pair.client.send(1, bytes(MAX_MESSAGE_BYTES), pair.now)
    began = pair.now
    while pair.client.ended_by is None:
        pair.to_server(*(data for data in pair.from_client() if len(data) < 1000))
        pair.to_client(*pair.from_server())
        pair.now += 0.5
        pair.client_events += pair.client.handle_timeout(pair.now)
    assert pair.now - began == 30.0
    assert MessageUndelivered(large, FailureReason.PATH_LOST) in pair.client_events
