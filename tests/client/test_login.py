"""Getting in: where a server is, its hello, the login, and giving up on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.testing import MemoryReactorClock

from sockserv.client import connect
from sockserv.client.profiles import Profile, Profiles
from sockserv.errors import AuthenticationFailed, ConnectError, ProfileError, StateError
from sockserv.testing import frame
from sockserv.urls import ServerUrl
from tests.client.raw_server import RawServer

# Servers that do not let us in


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, "raw did not answer within 3 seconds"),
        (b"", "the connection was closed by the peer"),
        (
            frame({"type": "hello", "version": 2}),
            "the peer speaks version 2 of the protocol",
        ),
        (
            frame({"type": "goodbye", "code": "too-many-connections", "message": "3 are open"}),
            "the peer ended the connection: 3 are open",
        ),
        (
            frame({"type": "hello", "version": 1, "auth": ["token"]})
            + frame({"type": "goodbye", "code": "shutting-down", "message": "for tonight"})
            + frame({"type": "error", "call": 1, "code": "unavailable", "message": "not now"}),
            "raw did not let us in: not now",
        ),
        (
            frame({"type": "hello", "version": 1, "auth": ["token"]}),
            "raw did not answer within 3 seconds",
        ),
    ],
    ids=["silence", "closed", "version", "full", "going away", "no answer"],
)
def test_why_we_are_not_let_in(answer: bytes | None, expected: str) -> None:
    server = RawServer()
    connecting = server.start_connecting(token="t", timeout_seconds=3.0)
    if answer == b"":
        server.peer.close()
    elif answer is not None:
        server.peer.send_bytes(answer)
    server.network.advance(3.0)
    with pytest.raises(ConnectError, match=expected):
        server.run(connecting)
    server.network.advance(3.0)
    assert server.peer.is_closed
    assert server.network.clock.getDelayedCalls() == []


@pytest.mark.parametrize("result", [None, 5, {}, {"identity": 5}, ["owner"]])
def test_a_login_with_a_strange_result(result: object) -> None:
    server = RawServer()
    connecting = server.start_connecting(token="t")
    server.send({"type": "hello", "version": 1, "auth": ["token"]})
    server.send({"type": "reply", "call": 1, "result": result})
    with pytest.raises(ConnectError, match="raw did not let us in: .* not what was expected"):
        server.run(connecting)
    server.network.flush()
    assert server.peer.is_closed


def test_a_login_without_a_token() -> None:
    server = RawServer()
    connecting = server.start_connecting()
    server.send({"type": "hello", "version": 1, "auth": ["token"]})
    with pytest.raises(AuthenticationFailed, match="no token is known for it"):
        server.run(connecting)
    server.network.flush()
    assert server.peer.is_closed


@pytest.mark.parametrize("when", ["at once", "before the hello", "before the login"])
def test_giving_up(when: str) -> None:
    server = RawServer()
    connecting = server.start_connecting(token="t")
    if when == "before the login":
        server.send({"type": "hello", "version": 1, "auth": ["token"]})
    connecting.cancel()
    with pytest.raises(CancelledError):
        server.run(connecting)
    server.network.flush()
    assert server.peer.is_closed
    assert server.network.clock.getDelayedCalls() == []


# Where a server is


def failure_of(deferred: Deferred[Any]) -> Exception:
    failures: list[Any] = []
    deferred.addErrback(failures.append)
    error: Exception = failures[0].value
    return error


@pytest.mark.parametrize(
    "server",
    [
        "tcp://",
        "tcp://localhost",
        "tcp://localhost:0",
        "tcp://localhost:99999",
        "tcp://localhost:7700/path",
        "tcp://[::1",
        "http://localhost:7700",
        "unix://",
        "unix://host/path",
    ],
)
def test_what_is_no_url_of_a_server(server: str, tmp_path: Path) -> None:
    error = failure_of(connect(MemoryReactorClock(), server, token="t", state=tmp_path))
    assert isinstance(error, ConnectError)
    assert "is not the URL of a server" in str(error)


class TestByName:
    @pytest.fixture(autouse=True)
    def profiles(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profiles:
        monkeypatch.setenv("SOCKSERV_CONFIG", str(tmp_path))
        return Profiles.locate()

    @pytest.mark.parametrize("server", ["", "lab1", "localhost:7700"])
    def test_what_is_none(self, server: str, tmp_path: Path) -> None:
        error = failure_of(connect(MemoryReactorClock(), server, state=tmp_path))
        assert isinstance(error, ProfileError)
        assert "no server is known as " in str(error)
        assert "a URL begins with sockserv://" in str(error)

    def test_what_is_one(self, profiles: Profiles, tmp_path: Path) -> None:
        url = ServerUrl.parse("unix:///run/s?token=t")
        profiles.save(Profile(name="lab1", url=url))
        reactor = MemoryReactorClock()
        connecting = connect(reactor, "lab1", state=tmp_path)
        connecting.addErrback(lambda failure: None)
        assert [client[0] for client in reactor.unixClients] == ["/run/s"]
        connecting.cancel()


@pytest.mark.parametrize("server", ["tcp://example.org:7700", "tcp://192.0.2.1:7700"])
def test_a_token_does_not_cross_the_network_for_all_to_read(server: str, tmp_path: Path) -> None:
    error = failure_of(connect(MemoryReactorClock(), server, token="t", state=tmp_path))
    assert isinstance(error, ConnectError)
    assert "is not encrypted" in str(error)


def test_a_unix_server(tmp_path: Path) -> None:
    reactor = MemoryReactorClock()
    connecting = connect(reactor, "unix:///run/a%20b", state=tmp_path)
    connecting.addErrback(lambda failure: None)
    assert [client[0] for client in reactor.unixClients] == ["/run/a b"]
    connecting.cancel()


def test_no_daemon_runs(tmp_path: Path) -> None:
    assert isinstance(
        failure_of(connect(MemoryReactorClock(), state=tmp_path / "none")), StateError
    )
