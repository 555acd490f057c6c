"""Two sides that talk to each other at random: whenever all has arrived, their accounts agree."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from sockserv.errors import CallCancelled, InternalError
from sockserv.limits import Limits
from sockserv.wire import events
from sockserv.wire.calls import CallState
from sockserv.wire.connection import Connection, Role
from sockserv.wire.framing import Piece
from sockserv.wire.messages import encode_value
from tests.wire.sides import in_one_piece


class Talker:
    """One side, with a program that does whatever comes to its mind."""

    def __init__(self, random: Random, role: Role) -> None:
        self.random = random
        limits = Limits(
            window_bytes=random.choice([1, 7, 100, 5000]),
            max_body_bytes=random.choice([1, 50, 1000]),
            frame_body_bytes=random.choice([3, 64, 20_000]),
            max_calls=random.choice([1, 3, 20]),
        )
        self.connection = Connection(role, limits)
        self.on_the_way = bytearray()
        self.sent: dict[int, bytes] = {}
        self.received: dict[int, bytes] = {}
        self.unconsumed: dict[int, int] = {}
        self.is_whole: set[int] = set()
        self.ended_sending: set[int] = set()
        self.connection.start("talker")

    def act(self) -> None:
        """Do one thing."""
        random, connection = self.random, self.connection
        calls: list[CallState] = [
            *connection.calls.incoming.values(),
            *connection.calls.outgoing.values(),
        ]
        what = random.randrange(12)
        if what < 2 and connection.can_open():
            body = random.randbytes(random.choice([0, 1, 20, 20_000]))
            end = random.random() < 0.4
            call = connection.open("x", timeout_seconds=None, body=body, end=end)
            self._note_sent(call, body, end=end)
        elif calls:
            self._act_in(random.choice(calls), what)

    def _act_in(self, call: CallState, what: int) -> None:
        random, connection = self.random, self.connection
        number = call.number
        if what < 6 and number not in self.ended_sending:
            body = random.randbytes(random.choice([0, 1, 20, 3000]))
            end = random.random() < 0.1
            connection.send(call, body, end=end)
            self._note_sent(call, body, end=end)
        elif what < 9:
            count = random.randint(0, self.unconsumed.get(number, 0))
            self.unconsumed[number] = self.unconsumed.get(number, 0) - count
            connection.consume(call, count)
        elif call.is_ours:
            if random.random() < 0.2:
                connection.cancel(call)
        elif number not in self.ended_sending:
            if what == 9:
                connection.fail(call, InternalError("failed"))
            else:
                body = random.randbytes(random.choice([0, 5, 500]))
                connection.reply(call, encode_value(number), body)
                self._note_sent(call, body, end=True)

    def _note_sent(self, call: CallState, body: bytes, *, end: bool) -> None:
        if not call.is_cancelled:
            self.sent[call.number] = self.sent.get(call.number, b"") + body
        if end:
            self.ended_sending.add(call.number)

    def pump(self) -> None:
        """Put what can be sent on the way."""
        while buffers := self.connection.data_to_send():
            self.on_the_way += in_one_piece(buffers)
        self.connection.take_drained()

    def receive(self, delivery: bytes) -> None:
        for event in self.connection.receive(delivery):
            self._on_event(event)

    def _on_event(self, event: Any) -> None:
        match event:
            case CallState():
                self._note_received(event, event.first_body, end=event.whole_body is not None)
            case events.BodyReceived():
                self._note_received(event.call, event.body, end=event.end)
            case events.CallReplied():
                self._note_received(event.call, event.body, end=True)
            case events.CallCancelled():
                if self.random.random() < 0.5:
                    self.connection.fail(event.call, CallCancelled("cancelled"))
            case _:
                pass

    def _note_received(self, call: CallState, body: Piece, *, end: bool) -> None:
        number = call.number
        self.received[number] = self.received.get(number, b"") + bytes(body)
        self.unconsumed[number] = self.unconsumed.get(number, 0) + len(body)
        if end:
            self.is_whole.add(number)


def move(random: Random, source: Talker, target: Talker, share: float) -> None:
    """Deliver some of what is on the way, in pieces."""
    source.pump()
    count = int(len(source.on_the_way) * share)
    stream = bytes(source.on_the_way[:count])
    del source.on_the_way[:count]
    while stream:
        size = random.choice([1, 10, 5000])
        target.receive(stream[:size])
        stream = stream[size:]


def settle(random: Random, client: Talker, server: Talker) -> None:
    """Deliver all there is."""
    while True:
        client.pump()
        server.pump()
        if not (client.on_the_way or server.on_the_way):
            return
        move(random, client, server, 1.0)
        move(random, server, client, 1.0)


def check_accounts(ours: Talker, theirs: Talker) -> None:
    calls = ours.connection.calls.outgoing
    same = theirs.connection.calls.incoming
    assert calls.keys() == same.keys()
    for number, call in calls.items():
        other = same[number]
        assert call.send_credit == other.receive_credit
        assert other.send_credit == call.receive_credit
        assert call.is_cancelled == other.is_cancelled
        assert min(call.send_credit, call.receive_credit) >= 0
        # What waits does so for credit alone.
        assert not (call.queued_bytes and call.send_credit)
        assert not (other.queued_bytes and other.send_credit)
    for number, body in theirs.received.items():
        assert ours.sent.get(number, b"").startswith(body)


@pytest.mark.parametrize("seed", range(25))
def test_the_accounts_of_both_sides_agree(seed: int) -> None:
    random = Random(seed)
    client, server = Talker(random, Role.CLIENT), Talker(random, Role.SERVER)
    settle(random, client, server)
    for turn in range(120):
        random.choice([client, server]).act()
        if random.random() < 0.5:
            move(random, client, server, random.random())
            move(random, server, client, random.random())
        if turn % 30 == 29:
            settle(random, client, server)
            check_accounts(client, server)
            check_accounts(server, client)
    for ours, theirs in ((client, server), (server, client)):
        for number in theirs.is_whole & ours.ended_sending:
            assert theirs.received[number] == ours.sent.get(number, b"")
