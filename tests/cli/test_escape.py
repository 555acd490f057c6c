"""The way out of a terminal that sends every key away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.cli.escape import EscapeFilter


def typed(pieces: list[bytes]) -> tuple[bytes, bool]:
    escape = EscapeFilter()
    sent = b""
    for piece in pieces:
        sent += escape.feed(piece)
        if escape.has_left:
            return sent, True
    return sent + escape.end(), False


@pytest.mark.parametrize(
    ("keys", "sent", "has_left"),
    [
        (b"", b"", False),
        (b"ls\r", b"ls\r", False),
        (b"~.", b"", True),
        (b"~.more", b"", True),
        (b"ls\r~.", b"ls\r", True),
        (b"ls\n~.", b"ls\n", True),
        (b"ls ~.", b"ls ~.", False),
        (b"~~.", b"~.", False),
        (b"\r~~\r~.", b"\r~\r", True),
        (b"~x~.", b"~x~.", False),
        (b"~\r~.", b"~\r", True),
        (b"~", b"~", False),
        (b"~~", b"~", False),
        (b"~~~.", b"~~.", False),
    ],
)
def test_keys(keys: bytes, sent: bytes, has_left: bool) -> None:
    assert typed([keys]) == (sent, has_left)
    assert typed([bytes([key]) for key in keys]) == (sent, has_left)


@given(st.lists(st.sampled_from([b"~", b".", b"\r", b"\n", b"a", b"~.", b"\r~", b"xy~"])))
def test_pieces_make_no_difference(pieces: list[bytes]) -> None:
    assert typed(pieces) == typed([b"".join(pieces)])


@given(st.binary())
def test_without_a_tilde_nothing_changes(keys: bytes) -> None:
    keys = keys.replace(b"~", b"")
    assert typed([keys]) == (keys, False)
