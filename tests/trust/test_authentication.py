"""Who a peer is, and what it may do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from sockserv.errors import (
    AuthenticationFailed,
    ConnectError,
    InternalError,
    InvalidArgument,
    PermissionDenied,
    UnknownOperation,
)
from sockserv.services import Call, Service, operation
from sockserv.testing import OWNER, MemoryNetwork, MemoryServer, RawPeer
from sockserv.trust import (
    EVERYTHING,
    Anonymous,
    Identity,
    Origin,
    TokenAuthenticator,
    hash_token,
)
from tests.net.probe import open_frame

ALICE = Identity("alice", frozenset({"echo", "files"}))
BOB = Identity("bob")
HERE = Origin("127.0.0.1", 4711)


class Who(Service):
    @operation("who", permission=None)
    def who(self, call: Call[Any]) -> str:
        return call.identity.name


# Identities


@pytest.mark.parametrize(
    ("identity", "permission", "expected"),
    [
        (ALICE, "echo", True),
        (ALICE, "exec", False),
        (ALICE, EVERYTHING, False),
        (ALICE, None, True),
        (BOB, "echo", False),
        (BOB, None, True),
        (OWNER, "echo", True),
        (OWNER, None, True),
    ],
)
def test_what_an_identity_may(identity: Identity, permission: str | None, expected: bool) -> None:
    assert identity.may(permission) is expected


# Tokens


def tokens() -> TokenAuthenticator:
    return TokenAuthenticator({hash_token("a"): ALICE, hash_token("b"): BOB})


def test_a_token_names_its_identity() -> None:
    assert tokens().authenticate("token", {"token": "a"}, HERE) is ALICE
    assert tokens().authenticate("token", {"token": "b"}, HERE) is BOB
    assert tokens().methods == ("token",)
    assert tokens().anonymous is None


def test_only_the_hash_of_a_token_is_kept() -> None:
    assert hash_token("a") == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert '"a"' not in repr(vars(tokens()))


@pytest.mark.parametrize("token", ["", "c", "A", hash_token("a")])
def test_another_token_is_nobodys(token: str) -> None:
    with pytest.raises(AuthenticationFailed, match="not valid here"):
        tokens().authenticate("token", {"token": token}, HERE)


@pytest.mark.parametrize(
    ("method", "credentials"),
    [
        ("token", {}),
        ("token", {"token": None}),
        ("token", {"token": 1}),
        ("token", {"token": ["a"]}),
        ("token", {"token": "a", "user": "alice"}),
        ("password", {"token": "a"}),
    ],
)
def test_incomplete_credentials(method: str, credentials: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match='one argument, "token"'):
        tokens().authenticate(method, credentials, HERE)


def test_anonymous_lets_everybody_in() -> None:
    anonymous = Anonymous(ALICE)
    assert anonymous.methods == ()
    assert anonymous.anonymous is ALICE
    with pytest.raises(AuthenticationFailed, match="no login is needed"):
        anonymous.authenticate("token", {"token": "a"}, HERE)


# The login on a connection


def log_in(raw: RawPeer, number: int = 1, method: str = "token", **args: Any) -> None:
    raw.send(open_frame(number, f"auth.{method}", args=args, end=True))


def answers(memory: MemoryServer, raw: RawPeer) -> list[tuple[str, str]]:
    """The type and the gist of each answer, those to failed logins as well."""
    memory.advance(1.0)
    return [
        (one["type"], one.header.get("code") or str(one.header.get("result")))
        for one in raw.take_frames()
        if "call" in one.header
    ]


@pytest.mark.parametrize(
    ("method", "args", "expected"),
    [
        ("token", {"token": "a"}, ("reply", "{'identity': 'alice'}")),
        ("token", {"token": "x"}, ("error", "authentication-failed")),
        ("token", {"token": 5}, ("error", "invalid-argument")),
        ("token", {}, ("error", "invalid-argument")),
        ("magic", {"token": "a"}, ("error", "authentication-failed")),
        ("", {"token": "a"}, ("error", "authentication-failed")),
    ],
)
def test_a_login(method: str, args: dict[str, Any], expected: tuple[str, str]) -> None:
    with MemoryServer([Who()], authenticator=tokens()) as memory:
        raw = memory.connect_raw()
        raw.send_hello()
        log_in(raw, method=method, **args)
        assert answers(memory, raw) == [expected]
        assert not raw.is_closed


@pytest.mark.parametrize("args", [[1], "a", None, 7])
def test_arguments_of_a_login_that_are_no_object(args: Any) -> None:
    with MemoryServer([Who()], authenticator=tokens()) as memory:
        raw = memory.connect_raw()
        raw.send_hello()
        for number, fields in enumerate([{"args": args}, {}]):
            raw.send(open_frame(1 + 2 * number, "auth.token", end=True, **fields))
            assert answers(memory, raw) == [("error", "invalid-argument")]


def test_nobody_logs_in_twice() -> None:
    with MemoryServer([Who()], authenticator=tokens()) as memory:
        raw = memory.connect_raw()
        raw.send_hello()
        log_in(raw, 1, token="a")
        log_in(raw, 3, token="b")
        raw.send(open_frame(5, "who", end=True))
        assert answers(memory, raw) == [
            ("reply", "{'identity': 'alice'}"),
            ("error", "permission-denied"),
            ("reply", "alice"),
        ]


def test_a_login_where_none_is_needed() -> None:
    with MemoryServer([Who()], authenticator=Anonymous(BOB)) as memory:
        raw = memory.connect_raw()
        raw.send_hello()
        log_in(raw, token="a")
        raw.send(open_frame(3, "who", end=True))
        assert answers(memory, raw) == [("error", "permission-denied"), ("reply", "bob")]


class Slow:
    """An authenticator that asks somebody else, and takes a second."""

    methods = ("token",)
    anonymous = None

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.asked = 0

    def authenticate(
        self, method: str, credentials: Mapping[str, Any], origin: Origin
    ) -> Deferred[Identity]:
        self.asked += 1
        found = deferLater(self._clock, 1.0, lambda: credentials["token"])
        return found.addCallback(self._identity)

    def _identity(self, token: str) -> Identity:
        if token == "crash":
            raise KeyError(token)
        if token not in ("a", "b"):
            raise AuthenticationFailed("the token is not valid here")
        return ALICE if token == "a" else BOB


def slow_server() -> tuple[MemoryServer, Slow]:
    network = MemoryNetwork()
    slow = Slow(network.clock)
    return MemoryServer([Who()], authenticator=slow, network=network), slow


def test_an_authenticator_may_take_its_time() -> None:
    memory, _ = slow_server()
    with memory:
        connecting = memory.start_connecting(token="a")
        assert memory.run(connecting, max_seconds=1.0).identity == "alice"
        assert memory.clock.seconds() == 1.0


def test_a_slow_login_is_not_overtaken() -> None:
    memory, _ = slow_server()
    with memory:
        raw = memory.connect_raw()
        raw.send_hello()
        log_in(raw, token="a")
        memory.flush()
        raw.send(open_frame(3, "who", end=True))
        memory.flush()
        assert raw.take_frames()[-1]["code"] == "login-required"
        assert raw.is_closed


def test_one_login_at_a_time() -> None:
    memory, slow = slow_server()
    with memory:
        raw = memory.connect_raw()
        raw.send_hello()
        log_in(raw, 1, token="a")
        log_in(raw, 3, token="b")
        memory.flush()
        assert [one["type"] for one in raw.take_frames()] == ["hello", "error"]
        memory.advance(1.0)
        raw.send(open_frame(5, "who", end=True))
        assert answers(memory, raw) == [("reply", "{'identity': 'alice'}"), ("reply", "alice")]
        assert slow.asked == 1


def test_many_logins_at_once_are_not_all_tried() -> None:
    memory, slow = slow_server()
    with memory:
        raw = memory.connect_raw()
        raw.send_hello()
        for number in range(20):
            log_in(raw, 1 + 2 * number, token="guess")
        memory.advance(1.0)
        assert slow.asked == 1
        assert raw.is_closed


def test_a_peer_that_goes_while_its_login_is_checked() -> None:
    memory, _ = slow_server()
    with memory:
        raw = memory.connect_raw()
        raw.send_hello()
        log_in(raw, token="a")
        memory.flush()
        raw.abort()
        memory.advance(1.0)
        assert memory.server.connections == 0
        assert memory.run(memory.start_connecting(token="a"), max_seconds=1.0).identity == "alice"


def test_an_authenticator_that_fails() -> None:
    memory, _ = slow_server()
    with memory:
        with pytest.raises(InternalError):
            memory.run(memory.start_connecting(token="crash"), max_seconds=1.0)
        assert len(memory.take_failures()) == 1


# What a client says


class Magic:
    """An authenticator that takes no tokens."""

    methods = ("magic", "kerberos")
    anonymous = None

    def authenticate(self, method: str, credentials: Mapping[str, Any], origin: Origin) -> Identity:
        raise AuthenticationFailed("no")


def test_a_server_that_takes_no_tokens() -> None:
    with (
        MemoryServer([], authenticator=Magic()) as memory,
        pytest.raises(AuthenticationFailed, match="it takes no tokens, but magic, kerberos"),
    ):
        memory.connect()


def test_a_token_that_is_refused() -> None:
    with MemoryServer([], authenticator=tokens()) as memory:
        with pytest.raises(AuthenticationFailed, match="the server refused the login: the token"):
            memory.connect(token="x")
        memory.flush()
        assert memory.server.connections == 0


def test_a_token_where_none_is_needed() -> None:
    with MemoryServer([Who()], authenticator=Anonymous(BOB)) as memory:
        client = memory.connect(token="whatever")
        assert client.identity is None
        assert memory.run(client.call("who")).result == "bob"


def test_refusals_name_what_is_missing() -> None:
    with MemoryServer([Who()]) as memory:
        client = memory.connect(BOB)
        with pytest.raises(UnknownOperation, match="no operation 'what' here"):
            memory.run(client.call("what"))
        with pytest.raises(PermissionDenied, match="logged in as bob already"):
            memory.run(client.call("auth.token", {"token": "x"}))


def test_a_server_that_is_full_lets_nobody_in() -> None:
    with MemoryServer([]) as memory:
        memory.run(memory.server.stop())
        with pytest.raises(ConnectError):
            memory.connect()
