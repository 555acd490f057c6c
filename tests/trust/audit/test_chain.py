"""A line of the log: what it ties together, and what it does not let through."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.trust.audit import Event, Record
from sockserv.trust.audit.chain import GENESIS, DamagedLine, Line, seal, unseal

RECORD = Record(
    seq=1,
    time="2026-11-22T23:37:00.000000Z",
    event=Event.BEGIN,
    identity="爱丽丝",
    args={"path": "a\nb"},
    prev=GENESIS,
)


def test_a_line_says_what_was_recorded() -> None:
    line, digest = seal(RECORD)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert unseal(line[:-1]) == Line(RECORD, digest)


def test_what_is_not_set_is_not_written() -> None:
    line, digest = seal(RECORD)
    assert json.loads(line) == {
        "seq": 1,
        "time": "2026-11-22T23:37:00.000000Z",
        "event": "begin",
        "identity": "爱丽丝",
        "args": {"path": "a\nb"},
        "prev": GENESIS,
        "hash": digest,
    }


@pytest.mark.parametrize(
    "text", ["\x7f", "\x80", "\x9b31m", "\u200e\u200f", "\u2028\u2029", "\u202a-\u202e", "\u2066-\u2069"]
)  # fmt: skip
def test_it_commands_no_terminal(text: str) -> None:
    """Somebody who fails to log in chooses some of it."""
    record = Record(event=Event.LOGIN_FAILED, facts={"method": f"a{text}éb"})
    line, digest = seal(record)
    assert unseal(line[:-1]) == Line(record, digest)
    shown = line.decode().removesuffix("\n")
    assert shown.isprintable()
    assert "éb" in shown


def test_anybody_can_compute_the_hash() -> None:
    """As docs/audit.md says it: the line without its last member."""
    line, digest = seal(RECORD)
    without = re.sub(rb',"hash":"[0-9a-f]*"}\n$', b"}", line)
    assert hashlib.sha256(without).hexdigest() == digest


@pytest.mark.parametrize("place", range(0, 250, 7))
def test_a_changed_byte_shows(place: int) -> None:
    line = bytearray(seal(RECORD)[0][:-1])
    line[place % len(line)] ^= 1
    with pytest.raises(DamagedLine):
        unseal(bytes(line))


@pytest.mark.parametrize("place", range(0, 250, 7))
def test_a_cut_line_shows(place: int) -> None:
    line = seal(RECORD)[0][:-1]
    with pytest.raises(DamagedLine):
        unseal(line[: place % len(line)])


def test_a_hash_that_fits_makes_no_record() -> None:
    content = b'{"event":"party"}'
    digest = hashlib.sha256(content).hexdigest()
    with pytest.raises(DamagedLine, match="is not a record") as caught:
        unseal(b'{"event":"party","hash":"%b"}' % digest.encode())
    assert caught.value.hash == digest


@given(st.binary(max_size=300))
def test_any_bytes_are_a_line_or_damaged(content: bytes) -> None:
    with pytest.raises(DamagedLine):
        unseal(content)


@given(st.binary(max_size=300))
def test_any_bytes_with_a_hash_are_a_line_or_damaged(content: bytes) -> None:
    digest = hashlib.sha256(content + b"}").hexdigest().encode()
    with pytest.raises(DamagedLine):
        unseal(content + b',"hash":"' + digest + b'"}')
