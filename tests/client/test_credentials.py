"""Which login a client chooses, of those that a server offers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sockserv.client.credentials import Credentials
from sockserv.errors import AuthenticationFailed
from sockserv.urls import ServerUrl
from tests.client.raw_server import RawServer

SOCKET = ServerUrl.parse("unix:///s")
TLS = ServerUrl.parse("sockserv://192.0.2.1")
LOOPBACK = ServerUrl.parse("tcp://127.0.0.1:7700")
PLAIN = ServerUrl.parse("tcp://192.0.2.1:7700")

ALL = Credentials(
    token="t0ken", user="alice", password="s3cret", has_certificate=True, server=SOCKET
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


@pytest.mark.parametrize(
    ("server", "offered", "why"),
    [
        (
            TLS,
            ["token", "certificate", "uid"],
            "it asks for a login (token, certificate), and no token is known for it: "
            "`sockserv login` with an invitation, or --token-file, gives one",
        ),
        (LOOPBACK, ["token", "certificate", "uid"], "it asks for a login (token), and no token is"),
        (SOCKET, ["password", "token", "certificate"], "it takes no uids, but password, token"),
        (
            TLS,
            ["certificate", "uid"],
            "it asks for a login (certificate), and none is known for it: see `sockserv login --help`",
        ),
        (
            PLAIN,
            ["token", "uid"],
            "it asks for a login (token, uid), and none of that is possible over tcp://: "
            "take another URL of it",
        ),
        (TLS, ["uid"], "it asks for a login (uid), and none of that is possible over sockserv://"),
    ],
)
def test_what_cannot_be_used_is_not_offered(
    server: ServerUrl, offered: list[str], why: str
) -> None:
    peer = RawServer()
    connecting = peer.start_connecting(credentials=Credentials(server=server))
    peer.send({"type": "hello", "version": 1, "auth": offered})
    with pytest.raises(AuthenticationFailed, match=re.escape(why)):
        peer.run(connecting)


def test_secrets_are_in_no_text() -> None:
    assert "t0ken" not in repr(ALL)
    assert "s3cret" not in repr(ALL)
    assert ALL.has_secrets
    assert not Credentials(user="alice", has_certificate=True, server=SOCKET).has_secrets
