"""Seals: what opens one, and what does not."""

from __future__ import annotations

import pytest

from sockserv.wire.connection import Role
from sockserv.wire.datagrams import sealing
from sockserv.wire.datagrams.drops import DatagramDropped, DropReason
from sockserv.wire.datagrams.layout import HEADER, MAX_CONTENT_BYTES, MAX_DATAGRAM_BYTES
from sockserv.wire.datagrams.sealing import MAX_DATAGRAMS, Opener, Sealer, SessionKeys
from tests.wire.datagrams.pair import KEYS, PLAIN


def dropped(opener: Opener, datagram: bytes) -> DropReason:
    try:
        opener.counter_of(datagram)
        opener.open(datagram)
    except DatagramDropped as error:
        return error.reason
    raise AssertionError("the datagram was opened")


@pytest.mark.parametrize("keys", [KEYS, PLAIN])
@pytest.mark.parametrize("role", list(Role))
def test_what_one_seals_the_other_opens(keys: SessionKeys, role: Role) -> None:
    sealer = Sealer(keys, role)
    other = Role.SERVER if role is Role.CLIENT else Role.CLIENT
    opener = Opener(keys, other)
    for counter, content in enumerate([b"", b"x", bytes(MAX_CONTENT_BYTES)]):
        datagram = sealer.seal(content)
        assert opener.counter_of(datagram) == counter
        assert opener.open(datagram) == content
        assert len(datagram) <= MAX_DATAGRAM_BYTES


def test_every_bit_counts() -> None:
    datagram = Sealer(KEYS, Role.CLIENT).seal(b"content")
    opener = Opener(KEYS, Role.SERVER)
    for bit in range(len(datagram) * 8):
        damaged = bytearray(datagram)
        damaged[bit // 8] ^= 1 << bit % 8
        expected = (
            {DropReason.WRONG_KIND}
            if bit < 8
            else {DropReason.UNKNOWN_SESSION}
            if bit < 72
            else {DropReason.FORGED, DropReason.MALFORMED}
        )
        assert dropped(opener, bytes(damaged)) in expected


def test_every_length_counts() -> None:
    datagram = Sealer(KEYS, Role.CLIENT).seal(b"content")
    opener = Opener(KEYS, Role.SERVER)
    for size in range(len(datagram)):
        expected = DropReason.TOO_SHORT if size < 33 else DropReason.FORGED
        assert dropped(opener, datagram[:size]) is expected
    assert dropped(opener, datagram + b"x") is DropReason.FORGED


@pytest.mark.parametrize(
    ("size", "reason"), [(1200, DropReason.FORGED), (1201, DropReason.TOO_LONG)]
)
def test_the_largest_datagram(size: int, reason: DropReason) -> None:
    header = HEADER.pack(0x51, KEYS.session_id, 0)
    assert dropped(Opener(KEYS, Role.SERVER), header.ljust(size, b"x")) is reason


def test_what_is_sent_back_to_its_sender_is_forged() -> None:
    datagram = Sealer(KEYS, Role.CLIENT).seal(b"content")
    assert dropped(Opener(KEYS, Role.CLIENT), datagram) is DropReason.FORGED


def test_plain_and_sealed_do_not_mix() -> None:
    plain = Sealer(PLAIN, Role.CLIENT).seal(b"content" * 5)
    assert dropped(Opener(KEYS, Role.SERVER), plain) is DropReason.WRONG_KIND
    sealed = Sealer(KEYS, Role.CLIENT).seal(b"content")
    assert dropped(Opener(PLAIN, Role.SERVER), sealed) is DropReason.WRONG_KIND


def test_the_same_content_never_looks_the_same() -> None:
    sealer = Sealer(KEYS, Role.CLIENT)
    seen = {sealer.seal(b"content") for _ in range(100)}
    assert len({datagram[HEADER.size :] for datagram in seen}) == 100


def test_a_key_wears_out() -> None:
    sealer = Sealer(KEYS, Role.CLIENT)
    sealer.counter = MAX_DATAGRAMS - 1
    last = sealer.seal(b"last")
    assert Opener(KEYS, Role.SERVER).counter_of(last) == MAX_DATAGRAMS - 1
    assert sealer.is_worn_out
    with pytest.raises(OverflowError):
        sealer.seal(b"one more")


def test_a_counter_beyond_the_last_is_no_datagram() -> None:
    header = HEADER.pack(0x51, KEYS.session_id, MAX_DATAGRAMS)
    assert dropped(Opener(KEYS, Role.SERVER), header + bytes(16)) is DropReason.MALFORMED


def test_new_keys_differ() -> None:
    made = [SessionKeys.make() for _ in range(3)]
    secrets = {key for keys in made for key in (keys.client_key, keys.server_key)}
    assert len(secrets) == 6
    assert len({keys.session_id for keys in made}) == 3
    assert not SessionKeys.make(sealed=False).is_sealed


def test_keys_are_not_shown() -> None:
    assert "cccc" not in repr(KEYS)
    assert "ssss" not in repr(KEYS)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"session_id": b"short"}, "session_id has 5 bytes: it must have 8"),
        ({"client_key": b"x" * 32}, "for one direction only"),
        ({"client_key": b"x" * 16, "server_key": b"y" * 32}, "client_key has 16 bytes"),
        ({"client_key": b"x" * 32, "server_key": b"x" * 32}, "share their nonces"),
    ],
)
def test_keys_that_cannot_be(given: dict[str, bytes], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        SessionKeys(**{"session_id": b"session!", **given})


def test_the_bound_of_a_key_is_far_below_the_wrap_of_its_counter() -> None:
    assert sealing.MAX_DATAGRAMS < 2**64
