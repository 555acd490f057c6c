"""Which login a client chooses, of those that a server offers."""

from __future__ import annotations

from typing import Any

import pytest

from sockserv.client.credentials import Credentials
from sockserv.errors import AuthenticationFailed
from tests.client.raw_server import RawServer

ALL = Credentials(
    token="t0ken", user="alice", password="s3cret", has_certificate=True, is_unix=True
)
EVERY = ["password", "uid", "certificate", "token"]


@pytest.mark.parametrize(
    ("offered", "op", "args"),
    [
        (EVERY, "auth.token", {"token": "t0ken"}),
        (["password", "uid", "certificate"], "auth.certificate", {}),
        (["password", "uid"], "auth.uid", {}),
        (["magic", "password"], "auth.password", {"user": "alice", "password": "s3cret"}),
    ],
)
def test_the_first_that_the_server_offers(offered: list[str], op: str, args: Any) -> None:
    server = RawServer()
    connecting = server.start_connecting(credentials=ALL)
    server.peer.take_frames()
    server.send({"type": "hello", "version": 1, "auth": offered})
    (frame,) = server.peer.take_frames()
    assert (frame.header["op"], frame.header["args"]) == (op, args)
    server.send({"type": "reply", "call": 1, "result": {"identity": "alice"}})
    assert server.run(connecting).identity == "alice"


@pytest.mark.parametrize(
    ("credentials", "why"),
    [
        (Credentials(), r"it asks for a login \(token, uid\), and no token is known for it"),
        (Credentials(user="alice"), "no token is known for it"),
        (
            Credentials(user="alice", password="x", has_certificate=True),
            "it takes no certificates and no passwords, but token, uid",
        ),
    ],
)
def test_no_way_in(credentials: Credentials, why: str) -> None:
    server = RawServer()
    connecting = server.start_connecting(credentials=credentials)
    server.send({"type": "hello", "version": 1, "auth": ["token", "uid"]})
    with pytest.raises(AuthenticationFailed, match=why):
        server.run(connecting)


def test_secrets_are_in_no_text() -> None:
    assert "t0ken" not in repr(ALL)
    assert "s3cret" not in repr(ALL)
    assert ALL.has_secrets
    assert not Credentials(user="alice", has_certificate=True, is_unix=True).has_secrets
