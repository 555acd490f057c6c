"""Logging in on connections: what is answered, when, and how often."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from sockserv.errors import AuthenticationFailed
from sockserv.limits import Limits
from sockserv.services import Call, Service, operation
from sockserv.testing import Frame, Link, MemoryNetwork, MemoryServer, RawPeer
from sockserv.trust import Identity, Login, Origin, PeerCertificate
from sockserv.trust.audit import Event
from sockserv.trust.checkers import CertificateChecker, TokenChecker, UidChecker
from sockserv.trust.portal import PortalAuthenticator, make_portal
from tests.net.probe import open_frame
from tests.server.test_audited import Sink

ALICE = Identity("alice", login=Login("token", "token:ac463ac5"))
CERTIFICATE = PeerCertificate("sha256:alices")
HERE = Origin("192.0.2.7", 4711)
ELSEWHERE = Origin("198.51.100.7", 4711)


class Who(Service):
    @operation("who", permission=None)
    def who(self, call: Call[Any]) -> Login | None:
        return call.identity.login

    @operation("permissions", permission=None)
    def permissions(self, call: Call[Any]) -> list[str]:
        return [*call.identity.permissions]


def by_token(token: str, now: datetime) -> Identity | None:
    if token == "expires at 100" and now.timestamp() >= 100:
        raise AuthenticationFailed("the token has expired")
    return ALICE if token in ("alices", "expires at 100") else None


def server(**limits: Any) -> MemoryServer:
    network = MemoryNetwork()
    portal = make_portal(
        [
            TokenChecker(by_token, network.clock),
            UidChecker({1000: ALICE}.__getitem__),
            CertificateChecker(lambda shown: ALICE if shown.pin == CERTIFICATE.pin else None),
        ]
    )
    authenticator = PortalAuthenticator(portal)
    limits.setdefault("login_timeout_seconds", 1000)
    return MemoryServer(
        [Who()], authenticator=authenticator, limits=Limits(**limits), network=network
    )


def greet(memory: MemoryServer, origin: Origin = HERE) -> RawPeer:
    raw = memory.connect_raw(link=Link(origin=origin))
    raw.send_hello()
    memory.flush()
    raw.take_frames()
    return raw


def guess(
    raw: RawPeer, number: int = 1, token: str = "wrong", method: str = "token", **fields: Any
) -> None:
    args = {"token": token} if method == "token" else {}
    raw.send(open_frame(number, f"auth.{method}", args=args, end=True, **fields))


def codes(raw: RawPeer) -> list[Any]:
    """The type of what has come, or its code if it has one."""
    return [one.header.get("code", one["type"]) for one in raw.take_frames()]


def after(memory: MemoryServer, seconds: float, raw: RawPeer) -> list[Any]:
    memory.advance(seconds)
    return codes(raw)


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_namespace"].startswith("sockserv.") and event["log_level"] >= LogLevel.warn:
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observe)


# Credentials that a connection proves


@pytest.mark.parametrize(
    ("method", "origin", "expected"),
    [
        ("uid", Origin(uid=1000), ["reply"]),
        ("uid", HERE, ["authentication-failed"]),
        ("certificate", attrs.evolve(HERE, certificate=CERTIFICATE), ["reply"]),
        (
            "certificate",
            attrs.evolve(HERE, certificate=PeerCertificate("sha256:others")),
            ["authentication-failed"],
        ),
        ("certificate", HERE, ["authentication-failed"]),
        ("password", HERE, ["authentication-failed"]),
    ],
)
def test_what_the_connection_proves(method: str, origin: Origin, expected: list[str]) -> None:
    with server() as memory:
        raw = greet(memory, origin)
        guess(raw, method=method)
        assert after(memory, 1.0, raw) == expected


def test_a_token_that_expires() -> None:
    with server() as memory:
        early, late = greet(memory), greet(memory)
        guess(early, token="expires at 100")
        assert after(memory, 0, early) == ["reply"]
        memory.clock.rightNow = 100.0
        guess(late, token="expires at 100")
        memory.advance(1.0)
        (answer,) = [one for one in late.take_frames() if one["type"] == "error"]
        assert answer["message"] == "the token has expired"
        early.send(open_frame(3, "who", end=True))
        memory.flush()
        assert "reply" in codes(early), "a server that is told nothing goes on"


# Held answers


def test_the_answers_to_wrong_tokens_take_longer_and_longer() -> None:
    with server(max_login_attempts=100) as memory:
        raw = greet(memory)
        for number, seconds in enumerate([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]):
            guess(raw, 1 + 2 * number)
            # What the clock halves meanwhile makes it a little less.
            assert after(memory, seconds * 0.7, raw) == []
            assert after(memory, seconds * 0.3001, raw) == ["authentication-failed"]


def test_another_connection_from_the_same_place_waits_as_long() -> None:
    with server() as memory:
        first, second, elsewhere = greet(memory), greet(memory), greet(memory, ELSEWHERE)
        guess(first)
        memory.flush()
        guess(second)
        guess(elsewhere)
        assert after(memory, 0.1, elsewhere) == ["authentication-failed"]
        assert codes(first) == ["authentication-failed"]
        assert codes(second) == []
        assert after(memory, 0.1, second) == ["authentication-failed"]


def test_the_right_token_is_never_slowed() -> None:
    with server() as memory:
        for _ in range(8):
            guess(greet(memory))
        memory.flush()
        right = greet(memory)
        guess(right, token="alices")
        assert after(memory, 0, right) == ["reply"]


@pytest.mark.parametrize("leave", [RawPeer.abort, RawPeer.close])
def test_hanging_up_is_no_way_to_try_more_often(leave: Any) -> None:
    with server(max_held_logins=4) as memory:
        for _ in range(4):
            raw = greet(memory)
            guess(raw)
            memory.flush()
            leave(raw)
        memory.flush()
        assert memory.server.connections == 0
        late = greet(memory)
        guess(late)
        assert after(memory, 0, late) == ["authentication-failed", "login-failed"]
        assert late.is_closed
        memory.advance(1.0)
        later = greet(memory)
        guess(later, token="alices")
        assert after(memory, 0, later) == ["reply"]


def test_a_short_timeout_is_no_way_to_try_more_often() -> None:
    with server() as memory:
        raw = greet(memory)
        for number in (1, 3, 5, 7):
            guess(raw, number, timeout=0.001)
            memory.advance(0.002)
        assert codes(raw) == ["deadline-exceeded"] * 3 + ["login-failed"]
        assert raw.is_closed
        second = greet(memory)
        guess(second)
        assert after(memory, 0.7, second) == [], "all three count"


def test_a_login_on_top_of_another() -> None:
    """While the answer to the first is held, the others are not even looked at."""
    with server() as memory:
        raw = greet(memory)
        for number in range(4):
            guess(raw, 1 + 2 * number, token="alices" if number else "wrong")
        memory.flush()
        assert codes(raw) == ["authentication-failed", "authentication-failed", "login-failed"]
        assert raw.is_closed


def test_the_deadline_of_the_login_holds() -> None:
    with server(login_timeout_seconds=2.5, max_login_attempts=100) as memory:
        raw = greet(memory)
        number = -1
        while not raw.is_closed:
            number += 2
            guess(raw, number)
            memory.advance(0.5)
        assert codes(raw)[-1] == "login-timeout"
        assert memory.clock.seconds() < 5
        late = greet(memory)
        memory.advance(2.4)
        guess(late)
        memory.advance(1.0)
        guess(late, 3, token="alices")
        assert after(memory, 2.0, late)[-1] == "login-timeout"


def test_ipv4_in_the_clothes_of_ipv6(log: list[str]) -> None:
    with MemoryServer([Who()], authenticator=Right()) as memory:
        guess(greet(memory, Origin("::ffff:192.0.2.7", 4711)))
        memory.flush()
    assert "<nobody yet at 192.0.2.7 port 4711> failed" in log[0]


def test_a_thousand_wrong_tokens(log: list[str]) -> None:
    """From one place, as fast as it goes, on ever new connections."""
    asked = []
    sink = Sink()

    class Counting(Right):
        def authenticate(self, method: str, credentials: Any, origin: Origin) -> Identity:
            asked.append(origin)
            found: Identity = super().authenticate(method, credentials, origin)
            return found

    with MemoryServer([Who()], authenticator=Counting(), audit=sink) as memory:
        for _ in range(1000):
            guess(greet(memory))
        memory.flush()
        assert len(asked) == 1000
        assert memory.server.connections == 32
        # 968 in a row were turned away, with a line at the 1st, 2nd, 4th ... 512th.
        assert len(log) == 32 + 10
        assert "512 in a row" in log[-1]
        assert not [line for line in log if "wrong" in line]

        # No token is found by trying, so that who has one is kept out nowhere.
        for origin in (ELSEWHERE, HERE):
            other = greet(memory, origin)
            guess(other, token="right")
            assert after(memory, 0, other) == ["reply"]
        memory.advance(60.0)
    assert len(asked) == 1002
    failed = [each for each in sink.records if each.event is Event.LOGIN_FAILED]
    assert len(failed) == 32 + 1
    assert failed[-1].facts == {"others": 968}


def test_a_thousand_wrong_passwords() -> None:
    """From one place: those are not even looked at while too many wrong ones are not answered yet."""
    asked = []

    class Passwords(Right):
        methods = ("password",)

        def authenticate(self, method: str, credentials: Any, origin: Origin) -> Identity:
            asked.append(origin)
            found: Identity = super().authenticate(method, credentials, origin)
            return found

    def guess_password(raw: RawPeer, token: str) -> None:
        raw.send(open_frame(1, "auth.password", args={"token": token}, end=True))

    with MemoryServer([Who()], authenticator=Passwords()) as memory:
        for _ in range(1000):
            guess_password(greet(memory), "wrong")
        memory.flush()
        assert len(asked) == 32
        assert memory.server.connections == 32
        unlucky = greet(memory)
        guess_password(unlucky, "right")
        assert after(memory, 0, unlucky) == ["authentication-failed", "login-failed"]
        other = greet(memory, ELSEWHERE)
        guess_password(other, "right")
        assert after(memory, 0, other) == ["reply"]
        memory.advance(60.0)
        late = greet(memory)
        guess_password(late, "right")
        assert after(memory, 0, late) == ["reply"]
    assert len(asked) == 34


# Authenticators


class Right:
    """An authenticator that knows one token."""

    methods = ("token",)
    anonymous = None

    def authenticate(self, method: str, credentials: Mapping[str, Any], origin: Origin) -> Any:
        if not hmac.compare_digest(credentials["token"], "right"):
            raise AuthenticationFailed("the token is not valid here")
        return ALICE


class Waiting(Right):
    """An authenticator whose answers the test gives."""

    def __init__(self) -> None:
        self.asked: list[Deferred[Identity]] = []

    def authenticate(
        self, method: str, credentials: Mapping[str, Any], origin: Origin
    ) -> Deferred[Identity]:
        self.asked.append(Deferred())
        return self.asked[-1]


@pytest.mark.parametrize("took", [0.0, 0.05, 0.099])
def test_how_long_a_check_takes_is_not_to_be_seen(took: float) -> None:
    waiting = Waiting()
    with MemoryServer([], authenticator=waiting) as memory:
        raw = greet(memory)
        started = memory.clock.seconds()
        guess(raw)
        memory.advance(took)
        waiting.asked[0].errback(AuthenticationFailed("no"))
        memory.advance(0.0999 - took)
        assert codes(raw) == []
        memory.advance(0.0002)
        assert codes(raw) == ["authentication-failed"]
        assert memory.clock.seconds() - started == pytest.approx(0.1, abs=0.001)


@pytest.mark.parametrize("now", [None, Identity("alice", frozenset({"less"}))])
def test_who_is_revoked_while_the_login_is_checked(now: Identity | None) -> None:
    waiting = Waiting()
    with MemoryServer([Who()], authenticator=waiting) as memory:
        raw, again = greet(memory), greet(memory)
        guess(raw)
        memory.flush()
        memory.server.reconsider(lambda identity: now)
        memory.flush()
        guess(again)
        memory.flush()
        waiting.asked[0].callback(ALICE)
        waiting.asked[1].callback(ALICE)
        assert after(memory, 1.0, raw) == (["authentication-failed"] if now is None else ["reply"])
        assert codes(again) == ["reply"], "who is looked up after the change is up to date"
        for one, identity in ((raw, now), (again, ALICE)):
            if identity is not None:
                one.send(open_frame(3, "permissions", end=True))
                memory.flush()
                (answer,) = one.take_frames()
                assert answer["result"] == [*identity.permissions]


def test_giving_a_check_up_counts_as_a_failure(log: list[str]) -> None:
    waiting = Waiting()
    with MemoryServer([], authenticator=waiting) as memory:
        raw = greet(memory)
        for number in (1, 3, 5):
            guess(raw, number, timeout=0.001)
            memory.advance(0.002)
        assert codes(raw) == ["deadline-exceeded"] * 3 + ["login-failed"]
        assert len(waiting.asked) == 3
        assert len(log) == 3


def test_a_check_that_ends_after_its_connection() -> None:
    waiting = Waiting()
    with MemoryServer([], authenticator=waiting) as memory:
        raw = greet(memory)
        guess(raw)
        memory.flush()
        raw.abort()
        memory.flush()
        waiting.asked[0].callback(ALICE)
        memory.flush()
        assert memory.server.connections == 0


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["greet", "wrong", "right", "brief", "hang up", "wait", "wait long"]),
        st.integers(0, 3),
    ),
    max_size=60,
)


@given(ACTIONS)
def test_whatever_a_guesser_does(actions: list[tuple[str, int]]) -> None:
    """No more is tried at a time than answers are held, and no token but the right one lets anybody in."""
    tried: dict[str, list[float]] = {}

    class Counting(Right):
        def authenticate(self, method: str, credentials: Any, origin: Origin) -> Any:
            if credentials["token"] != "right":
                times = tried.setdefault(str(origin.address), [])
                times.append(memory.clock.seconds())
                # The shortest that an answer is held.
                assert len([time for time in times if time > times[-1] - 0.0999]) <= 3
            return super().authenticate(method, credentials, origin)

    limits = Limits(max_held_logins=3)
    with MemoryServer([], authenticator=Counting(), limits=limits) as memory:
        raws = [greet(memory, origin) for origin in (HERE, HERE, ELSEWHERE, ELSEWHERE)]
        numbers, right = [1] * 4, [False] * 4
        for action, which in actions:
            raw = raws[which]
            match action:
                case "wait":
                    memory.advance(0.07)
                case "wait long":
                    memory.advance(3.0)
                case "hang up":
                    raw.abort()
                case "greet" if raw.is_closed:
                    raws[which] = greet(memory, HERE if which < 2 else ELSEWHERE)
                    numbers[which], right[which] = 1, False
                case "wrong" | "right" | "brief" if not raw.is_closed:
                    right[which] |= action == "right"
                    token = "right" if action == "right" else "wrong"
                    fields: dict[str, Any] = {"timeout": 0.01} if action == "brief" else {}
                    guess(raw, numbers[which], token, **fields)
                    numbers[which] += 2
            memory.flush()
            for one, may in zip(raws, right, strict=True):
                assert may or "reply" not in codes(one)


def test_an_authenticator_that_breaks_says_nothing_of_the_credentials(log: list[str]) -> None:
    class Breaking(Right):
        def authenticate(self, method: str, credentials: Any, origin: Origin) -> Identity:
            known: dict[str, Identity] = {}
            return known[credentials["token"]]

    with MemoryServer([], authenticator=Breaking()) as memory:
        raw = greet(memory)
        for number in (1, 3, 5):
            guess(raw, number, token="s3cr3t")
            memory.advance(1.0)
        frames: list[Frame] = raw.take_frames()
        assert [one["code"] for one in frames] == ["internal"] * 3 + ["login-failed"]
        failures = memory.take_failures()
        assert [str(failure) for failure in failures] == ["it raised KeyError"] * 3
        assert "s3cr3t" not in f"{frames} {log}"
        assert "KeyError" not in f"{frames}"
