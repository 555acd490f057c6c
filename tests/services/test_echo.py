"""The echo service: every byte comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.errors import PermissionDenied
from sockserv.limits import Limits
from sockserv.services import Service
from sockserv.services.echo import Echo
from sockserv.testing import Example, Link, MemoryServer, RandomSizes, ServiceConformance
from sockserv.trust import Identity

_SURROGATE = b"\xed\xa0\x80"


class TestEcho(ServiceConformance):
    examples = (
        Example("echo"),
        Example("echo", body=b"hello"),
        Example("echo", body=bytes(range(256)) * 150),
        Example("echo", {"upper": True}, b"hello"),
        Example("echo", {"upper": True}, "straße 中文 é\n".encode() * 900),
    )

    def make_service(self) -> Service:
        return Echo()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", b""),
        (b"ls -l; abcd; pwd", b"LS -L; ABCD; PWD"),
        ("grüße 中文".encode(), "GRÜSSE 中文".encode()),
        (b"\xff caf\xe9 ", b"\xff CAF\xe9 "),
        (b"ab" + _SURROGATE, b"AB" + _SURROGATE),
        ("cut é".encode()[:-1], b"CUT \xc3"),
    ],
)
def test_upper_case(text: bytes, expected: bytes) -> None:
    with MemoryServer([Echo()]) as memory:
        client = memory.connect()
        assert memory.run(client.call("echo", {"upper": True}, body=text)).body == expected


@given(st.binary(max_size=3000), st.integers(1, 3000), st.integers(0, 2**32))
def test_every_byte_comes_back(body: bytes, window_bytes: int, seed: int) -> None:
    limits = Limits(window_bytes=window_bytes, send_buffer_bytes=window_bytes)
    with MemoryServer([Echo()], limits=limits) as memory:
        client = memory.connect(link=Link(fragments=RandomSizes(seed)), limits=limits)
        reply = memory.run(client.call("echo", body=body))
        assert reply.body == body
        assert reply.result is None


def test_it_needs_the_permission_echo() -> None:
    with MemoryServer([Echo()]) as memory:
        allowed = memory.connect(Identity("alice", frozenset({"echo"})))
        assert memory.run(allowed.call("echo", body=b"x")).body == b"x"
        refused = memory.connect(Identity("bob", frozenset({"files"})))
        with pytest.raises(PermissionDenied, match="bob may not call echo") as caught:
            memory.run(refused.call("echo", body=b"x"))
        assert caught.value.details == {"permission": "echo"}
