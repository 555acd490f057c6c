"""Logging in to stay: whatever is interrupted, one of the tokens that are stored is good."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred, fail

from sockserv.client import Client
from sockserv.client.login import LoggedIn, connect_as, log_in
from sockserv.client.profiles import Profile, Profiles
from sockserv.errors import (
    AuthenticationFailed,
    CallError,
    ConnectError,
    ConnectionEnded,
    PermissionDenied,
    ProfileError,
    Unavailable,
)
from sockserv.services import Call, Service, operation
from sockserv.testing import OWNER, Link, MemoryServer
from sockserv.trust import Anonymous, Identity, Origin
from sockserv.urls import ServerUrl
from tests.client.raw_server import RawServer
from tests.test_atomic import files_of_at_most

INVITED = "the-token-of-the-invitation"
URL = ServerUrl.parse("tcp://127.0.0.1:7700")
LAB = Profile(name="lab1", url=attrs.evolve(URL, token=INVITED))


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@attrs.frozen
class ReplaceArguments:
    sha256: str


class Tokens(Service):
    """Knows one token, and takes another one for it; `before` and `after` may spoil that."""

    methods = ("token",)
    anonymous = None

    def __init__(self, name: str = "alice") -> None:
        self.known = digest(INVITED)
        self.name = name
        self.asked = 0
        self.refused = 0
        self.before: Callable[[], Any] = lambda: None
        self.after: Callable[[], Any] = lambda: None

    def authenticate(self, method: str, credentials: Mapping[str, Any], origin: Origin) -> Identity:
        if digest(credentials["token"]) != self.known:
            self.refused += 1
            raise AuthenticationFailed("the token is not valid here")
        return Identity(self.name)

    @operation("identity.replace-token", args=ReplaceArguments, permission=None)
    def replace(self, call: Call[ReplaceArguments]) -> Any:
        self.asked += 1
        self.before()
        self.known = call.args.sha256
        return self.after()


class Scene:
    """A server, and somebody who logs in to it."""

    def __init__(self, profiles: Profiles, tokens: Tokens, services: list[Service]) -> None:
        self.profiles = profiles
        self.tokens = tokens
        self.memory = MemoryServer(services, authenticator=tokens)
        self.link: Link | None = None
        self.is_down = False

    def connect(self, profile: Profile) -> Deferred[Client]:
        token = profile.url.token
        assert token is not None
        if self.is_down:
            return fail(ConnectError("there is no network"))
        self.link = Link()
        return self.memory.start_connecting(token=token, link=self.link)

    def start(self, profile: Profile = LAB) -> Deferred[LoggedIn]:
        return Deferred.fromCoroutine(
            log_in(self.connect, profile, self.profiles, timeout_seconds=5.0)
        )

    def log_in(self, profile: Profile = LAB) -> LoggedIn:
        return self.memory.run(self.start(profile), max_seconds=10.0)

    def connect_again(self) -> str | None:
        profile = self.profiles.load("lab1")
        client = self.memory.run(
            connect_as(self.connect, profile, self.profiles, timeout_seconds=5.0), max_seconds=10.0
        )
        self.memory.run(client.close())
        return client.identity

    def check_settled(self) -> None:
        """The profile holds one token, the server knows it, and it is not that of the invitation."""
        profile = self.profiles.load("lab1")
        assert profile.next_token is None
        assert profile.url.token is not None
        assert digest(profile.url.token) == self.tokens.known
        assert profile.url.token != INVITED


@pytest.fixture
def profiles(tmp_path: Path) -> Profiles:
    return Profiles(tmp_path / "servers")


@pytest.fixture
def scene(profiles: Profiles) -> Iterator[Scene]:
    tokens = Tokens()
    scene = Scene(profiles, tokens, [tokens])
    with scene.memory:
        yield scene


def test_the_token_is_replaced_at_once(scene: Scene) -> None:
    done = scene.log_in()
    assert done.not_replaced is None
    assert (done.profile.name, done.profile.identity) == ("lab1", "alice")
    assert scene.profiles.load("lab1") == done.profile
    scene.check_settled()
    assert scene.connect_again() == "alice"
    assert (scene.tokens.asked, scene.tokens.refused) == (1, 0)
    scene.memory.advance(1.0)
    assert not scene.memory.network.links


def test_a_token_that_is_not_valid_leaves_nothing(scene: Scene) -> None:
    with pytest.raises(AuthenticationFailed):
        scene.log_in(attrs.evolve(LAB, url=attrs.evolve(URL, token="wrong")))
    assert scene.profiles.names() == []


def test_both_tokens_are_on_the_disk_before_the_server_is_asked(scene: Scene) -> None:
    seen: list[Profile] = []
    scene.tokens.before = lambda: seen.append(scene.profiles.load("lab1"))
    scene.log_in()
    (pending,) = seen
    assert pending.url.token == INVITED
    assert pending.next_token == scene.profiles.load("lab1").url.token


def test_the_profile_cannot_be_written(scene: Scene) -> None:
    with files_of_at_most(100), pytest.raises(ProfileError, match="cannot write"):
        scene.log_in()
    # The invitation is still good.
    assert scene.tokens.asked == 0
    scene.log_in()
    scene.check_settled()


def test_the_disk_is_full_when_the_token_is_replaced(scene: Scene) -> None:
    limits = [files_of_at_most(100)]
    scene.tokens.before = limits[0].__enter__
    done = scene.log_in()
    limits[0].__exit__(None, None, None)
    assert done.profile.next_token is not None
    assert scene.connect_again() == "alice"
    scene.check_settled()


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_connection_is_cut(scene: Scene, when: str) -> None:
    """Nobody knows whether the token is replaced; the next connection finds out."""

    def cut() -> None:
        assert scene.link is not None
        scene.link.cut()
        if when == "before":
            raise Unavailable("too late")

    setattr(scene.tokens, when, cut)
    with pytest.raises(ConnectionEnded):
        scene.log_in()
    setattr(scene.tokens, when, lambda: None)
    assert scene.connect_again() == "alice"
    scene.check_settled()
    assert scene.tokens.refused == (1 if when == "before" else 0)


@pytest.mark.parametrize("again", [Scene.connect_again, Scene.log_in])
@pytest.mark.parametrize("is_replaced", [True, False])
def test_ctrl_c_while_the_token_is_replaced(
    scene: Scene, is_replaced: bool, again: Callable[[Scene], object]
) -> None:
    scene.tokens.after = lambda: Deferred()
    running = scene.start()
    scene.memory.flush()
    running.cancel()
    with pytest.raises(CancelledError):
        scene.memory.run(running)
    if not is_replaced:
        scene.tokens.known = digest(INVITED)
    scene.tokens.after = lambda: None
    again(scene)
    scene.check_settled()


def test_the_server_does_not_answer(scene: Scene) -> None:
    scene.tokens.after = lambda: Deferred()
    done = scene.log_in()
    assert done.not_replaced is not None
    scene.tokens.after = lambda: None
    assert scene.connect_again() == "alice"
    scene.check_settled()


def test_the_server_will_not_now(scene: Scene) -> None:
    def refuse() -> None:
        raise Unavailable("its disk is full")

    scene.tokens.before = refuse
    done = scene.log_in()
    assert isinstance(done.not_replaced, CallError)
    assert scene.connect_again() == "alice"
    assert scene.profiles.load("lab1").url.token == INVITED
    scene.tokens.before = lambda: None
    assert scene.connect_again() == "alice"
    scene.check_settled()


def test_two_end_the_same_replacement_at_once(scene: Scene) -> None:
    """The one who is slower finds the new token right after all."""
    pending = attrs.evolve(LAB, next_token="next")
    scene.profiles.save(pending)
    clients = []
    for _ in range(2):
        clients.append(
            Deferred.fromCoroutine(
                connect_as(scene.connect, pending, scene.profiles, timeout_seconds=5.0)
            )
        )
    for client in clients:
        assert scene.memory.run(client, max_seconds=1.0).identity == "alice"
    assert scene.profiles.load("lab1").url.token == "next"
    assert digest("next") == scene.tokens.known


class TestADeniedReplacement:
    def deny(self) -> None:
        raise PermissionDenied("not this token")

    def test_the_token_is_not_one_that_can_be_replaced(self, scene: Scene) -> None:
        scene.tokens.before = self.deny
        assert scene.log_in() == LoggedIn(attrs.evolve(LAB, identity="alice"))
        assert scene.connect_again() == "alice"
        assert scene.tokens.asked == 1

    def test_somebody_else_has_replaced_it(self, scene: Scene) -> None:
        scene.tokens.after = self.deny
        assert scene.log_in().not_replaced is None
        scene.check_settled()

    def test_who_came_in_by_a_token_that_is_no_more_comes_in_again(self, scene: Scene) -> None:
        pending = attrs.evolve(LAB, next_token="next")
        scene.profiles.save(pending)

        def replaced_meanwhile() -> None:
            # Who holds the old token is about to be cut off.
            assert scene.link is not None
            scene.memory.clock.callLater(1.0, scene.link.cut)
            scene.tokens.after = lambda: None
            self.deny()

        scene.tokens.after = replaced_meanwhile
        client = scene.memory.run(
            Deferred.fromCoroutine(
                connect_as(scene.connect, pending, scene.profiles, timeout_seconds=5.0)
            ),
            max_seconds=0.5,
        )
        scene.memory.advance(2.0)
        scene.memory.run(client.ping())
        scene.check_settled()

    def test_the_connection_ends_before_anybody_knows(self, scene: Scene) -> None:
        def cut() -> None:
            scene.is_down = True
            raise PermissionDenied("not this token")

        scene.tokens.after = cut
        with pytest.raises(ConnectError):
            scene.log_in()
        scene.is_down = False
        assert scene.connect_again() == "alice"
        scene.check_settled()


def test_no_token_is_good_any_more(scene: Scene) -> None:
    scene.tokens.known = "revoked"
    scene.profiles.save(attrs.evolve(LAB, next_token="next"))
    with pytest.raises(AuthenticationFailed):
        scene.connect_again()
    assert scene.profiles.load("lab1").next_token == "next"


def test_a_server_that_cannot_replace_tokens_keeps_them(profiles: Profiles) -> None:
    scene = Scene(profiles, Tokens(), [])
    with scene.memory:
        done = scene.log_in()
        assert done == LoggedIn(attrs.evolve(LAB, identity="alice"))
        assert scene.profiles.load("lab1") == done.profile


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "x\x7f", "\u202eevil", "x" * 257])
def test_a_name_that_cannot_be_shown_is_not_stored(profiles: Profiles, name: str) -> None:
    tokens = Tokens(name)
    scene = Scene(profiles, tokens, [tokens])
    with scene.memory:
        assert scene.log_in().profile.identity is None


class TestThePinThatWasUsed:
    """Our own daemon is known by what its note says; others would have to find that."""

    PIN = "sha256:" + "A" * 43
    BARE = ServerUrl.parse("sockserv://127.0.0.1")

    @pytest.mark.parametrize("said", [None, PIN])
    def test_it_is_stored(self, profiles: Profiles, said: str | None) -> None:
        server = RawServer()
        profile = Profile(name="lab1", url=attrs.evolve(self.BARE, pin=said))
        logging_in = Deferred.fromCoroutine(
            log_in(
                lambda _: server.start_connecting(pin=self.PIN),
                profile,
                profiles,
                timeout_seconds=5.0,
            )
        )
        server.send({"type": "hello", "version": 1})
        assert server.run(logging_in).profile.url.pin == self.PIN
        assert profiles.load("lab1").url.pin == self.PIN

    def test_an_interrupted_login_goes_on_without_it(self, scene: Scene) -> None:
        url = attrs.evolve(self.BARE, token=INVITED)
        pending = Profile(
            name="lab1", url=attrs.evolve(url, pin=self.PIN), identity="alice", next_token="next"
        )
        scene.profiles.save(pending)
        scene.tokens.known = digest("next")
        done = scene.log_in(attrs.evolve(LAB, url=url))
        assert done.profile.url == attrs.evolve(url, pin=self.PIN, token="next")


class TestANameThatIsTaken:
    def test_by_the_same_server(self, scene: Scene) -> None:
        scene.log_in()
        scene.tokens.known = digest("another")
        scene.log_in(attrs.evolve(LAB, url=attrs.evolve(URL, token="another")))
        scene.check_settled()

    def test_by_another_server(self, scene: Scene) -> None:
        other = attrs.evolve(LAB, url=ServerUrl.parse("tcp://127.0.0.1:1?token=x"))
        scene.profiles.save(other)
        with pytest.raises(ProfileError, match="lab1 is the name of tcp://127.0.0.1:1 already"):
            scene.log_in()
        assert scene.profiles.load("lab1") == other

    def test_by_another_identity_at_the_same_server(self, scene: Scene) -> None:
        other = attrs.evolve(LAB, url=attrs.evolve(URL, token="hers"), identity="bob")
        scene.profiles.save(other)
        with pytest.raises(ProfileError) as caught:
            scene.log_in()
        assert str(caught.value) == (
            "lab1 is the name of bob at tcp://127.0.0.1:7700 already: choose another one with "
            "--name, or `sockserv logout lab1` first"
        )
        assert scene.profiles.load("lab1") == other
        # The invitation is still good.
        assert scene.tokens.asked == 0
        scene.profiles.remove("lab1")
        scene.log_in()
        scene.check_settled()
        scene.memory.advance(1.0)
        assert not scene.memory.network.links

    def test_by_another_identity_in_the_meantime(self, scene: Scene) -> None:
        other = attrs.evolve(LAB, url=attrs.evolve(URL, token="hers"), identity="bob")
        running = scene.start()
        scene.profiles.save(other)
        with pytest.raises(ProfileError, match="name of bob at"):
            scene.memory.run(running)
        assert scene.profiles.load("lab1") == other
        assert scene.tokens.asked == 0

    def test_by_an_identity_where_nobody_needs_one_now(self, profiles: Profiles) -> None:
        """A login without a name does not take the place of a token, either."""
        stored = attrs.evolve(LAB, identity="alice")
        profiles.save(stored)
        with MemoryServer([], authenticator=Anonymous(OWNER)) as memory:
            logging_in = log_in(
                lambda _: memory.start_connecting(),
                attrs.evolve(LAB, url=URL),
                profiles,
                timeout_seconds=5.0,
            )
            with pytest.raises(ProfileError, match="name of alice at"):
                memory.run(Deferred.fromCoroutine(logging_in))
        assert profiles.load("lab1") == stored
