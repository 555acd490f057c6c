"""The test vectors of docs/vectors, and what docs/protocol.md says of datagrams."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from sockserv.limits import DatagramLimits
from sockserv.wire.connection import Role
from sockserv.wire.datagrams.drops import DatagramDropped, DropReason
from sockserv.wire.datagrams.layout import Content, Part, decode_content
from sockserv.wire.datagrams.sealing import Opener, Sealer, SessionKeys
from tests.protocol_document import code, dumps, table
from tests.wire.datagrams.pair import CLIENT, server_session
from tests.wire.vectors import load, to_bytes

FILE = load("datagrams.json")
KEYS = SessionKeys(**{name: to_bytes(value) for name, value in FILE["keys"].items()})
PLAIN = SessionKeys(session_id=KEYS.session_id)


def cases(group: str) -> Any:
    names = [case["name"] for case in FILE[group]]
    assert len(set(names)) == len(names), "two cases have the same name"
    return pytest.mark.parametrize("case", FILE[group], ids=names)


def meaning(content: Content) -> dict[str, Any]:
    means: dict[str, Any] = {}
    if content.is_ping:
        means["ping"] = True
    if content.ack is not None:
        largest, bits = content.ack.largest, content.ack.bits
        received = [largest - i for i in range(bits.bit_length()) if bits >> i & 1]
        delay = round(content.ack.delay_seconds * 10_000)
        means["ack"] = {"largest": largest, "delay": delay, "received": received[::-1]}
    if content.challenge is not None:
        means["challenge"] = content.challenge.hex(" ")
    if content.response is not None:
        means["response"] = content.response.hex(" ")
    if content.messages:
        means["messages"] = [
            {"stream": stream, "number": number, "body": body.hex(" ")}
            for stream, number, body in content.messages
        ]
    return means


@cases("contents")
def test_a_content(case: dict[str, Any]) -> None:
    assert meaning(decode_content(to_bytes(case["content"]))) == case["means"]


@cases("malformed")
def test_a_content_that_is_none(case: dict[str, Any]) -> None:
    with pytest.raises(DatagramDropped) as caught:
        decode_content(to_bytes(case["content"]))
    assert caught.value.reason is DropReason.MALFORMED


@cases("sealed")
def test_a_seal(case: dict[str, Any]) -> None:
    keys = KEYS if case["sealed"] else PLAIN
    role = Role(case["role"])
    sealer = Sealer(keys, role)
    sealer.counter = case["counter"]
    datagram = to_bytes(case["datagram"])
    assert sealer.seal(to_bytes(case["content"])) == datagram
    opener = Opener(keys, Role.SERVER if role is Role.CLIENT else Role.CLIENT)
    assert opener.counter_of(datagram) == case["counter"]
    assert opener.open(datagram) == to_bytes(case["content"])


@cases("dropped")
def test_what_is_dropped(case: dict[str, Any]) -> None:
    session = server_session(KEYS)
    for before in case["before"]:
        session.receive_datagram(to_bytes(before), CLIENT, 0.0)
        session.data_to_send(0.0)
    assert not session.drops
    timeout = session.next_timeout()
    assert session.receive_datagram(to_bytes(case["receive"]), CLIENT, 0.0) == []
    assert session.drops == {DropReason(case["reason"]): 1}
    assert session.data_to_send(0.0) == []
    assert session.next_timeout() == timeout


def test_every_reason_has_a_row_and_a_vector() -> None:
    rows = [code(cells[0]) for cells in table("What becomes of bad datagrams")]
    assert rows == list(DropReason)
    assert {case["reason"] for case in FILE["dropped"]} == set(DropReason)


def test_the_parts() -> None:
    rows = {int(cells[0]): cells[1] for cells in table("The content")}
    named = {part.value: part.name.lower() for part in Part}
    assert rows == named | {Part.ACK.value: "acknowledgement"}


def test_the_bounds() -> None:
    rows = {code(cells[0]): float(cells[1]) for cells in table("Bounds of a session")}
    assert rows == attrs.asdict(DatagramLimits())


def test_the_worked_example() -> None:
    content, datagram = dumps("A datagram, byte by byte")
    sealer = Sealer(KEYS, Role.CLIENT)
    sealer.counter = 2
    assert sealer.seal(content) == datagram
    assert {"name", "content", "datagram"} <= FILE["sealed"][2].keys()
    assert to_bytes(FILE["sealed"][2]["datagram"]) == datagram
    decoded = decode_content(content)
    assert decoded.messages == [(7, 1, b"hi")]
    assert decoded.ack is not None
    assert decoded.ack.delay_seconds == 0.0015
