"""Logins by `twisted.cred`: checkers, a realm, a portal."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.cred.checkers import (
    AllowAnonymousAccess,
    FilePasswordDB,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import Interface, implementer
from zope.interface.verify import verifyClass, verifyObject

from sockserv.errors import AuthenticationFailed, InvalidArgument
from sockserv.trust import Identity, Login, Origin, PeerCertificate, hash_token
from sockserv.trust.checkers import CertificateChecker, TokenChecker, UidChecker
from sockserv.trust.credentials import IToken, Token
from sockserv.trust.identities import IIdentity
from sockserv.trust.portal import (
    IdentityRealm,
    PortalAuthenticator,
    identity_authenticator,
    make_portal,
)
from sockserv.trust.store import IdentityStore, owner_entry

CERTIFICATE = PeerCertificate("sha256:alices", ("alice.example.org",), is_trusted=True)
ALICE = Identity("alice", frozenset({"echo"}), login=Login("token", "token:ac463ac5"))
BOB = Identity("bob", frozenset({"echo"}))
PIN = f"sha256:{'A' * 43}"
TCP = Origin("192.0.2.7", 4711)
LOCAL = Origin(uid=1000)
TLS = Origin("192.0.2.7", 4711, certificate=CERTIFICATE)


def by_token(token: str, now: datetime) -> Identity | None:
    if token == "old" and now >= datetime(1970, 1, 1, 0, 1, 40, tzinfo=UTC):
        raise AuthenticationFailed("the token has expired")
    return ALICE if token in ("alices", "old") else None


def portal() -> Portal:
    return make_portal(
        [
            TokenChecker(by_token, Clock()),
            UidChecker({1000: ALICE}.get),
            CertificateChecker(lambda shown: ALICE if shown == CERTIFICATE else None),
            InMemoryUsernamePasswordDatabaseDontUse(bob=b"secret", carol=b"secret"),
        ],
        by_name={"bob": BOB}.get,
    )


def outcome(given: Portal, method: str, origin: Origin = TCP, **arguments: Any) -> Any:
    """The identity, or the error."""
    return answer_of(PortalAuthenticator(given), method, origin, arguments)


def answer_of(
    authenticator: PortalAuthenticator, method: str, origin: Origin, arguments: dict[str, Any]
) -> Any:
    found = Deferred.fromCoroutine(authenticator.authenticate(method, arguments, origin))
    results: list[Any] = []
    found.addCallbacks(results.append, lambda failure: results.append(failure.value))
    return results[0]


def test_the_methods_are_those_that_have_a_checker() -> None:
    assert PortalAuthenticator(portal()).methods == ("token", "certificate", "uid", "password")
    assert PortalAuthenticator(portal()).anonymous is None
    one = PortalAuthenticator(make_portal([UidChecker(lambda uid: None)]))
    assert one.methods == ("uid",)


@pytest.mark.parametrize("checkers", [[], [AllowAnonymousAccess()]])
def test_a_portal_by_which_nobody_could_come_in(checkers: list[ICredentialsChecker]) -> None:
    with pytest.raises(ValueError, match="no checker for a token, certificate, uid or password"):
        PortalAuthenticator(make_portal(checkers))


def test_two_checkers_for_one_thing() -> None:
    """cred would ask the second only, and say nothing."""
    two = [FilePasswordDB("a"), FilePasswordDB("b")]
    with pytest.raises(ValueError, match=r"the same credentials: IUsernameHashed.*, IUsernameP"):
        make_portal(two)


@pytest.mark.parametrize(
    ("method", "origin", "arguments"),
    [
        ("token", TCP, {"token": "alices"}),
        ("token", LOCAL, {"token": "old"}),
        ("uid", LOCAL, {}),
        ("certificate", TLS, {}),
    ],
)
def test_who_holds_credentials(method: str, origin: Origin, arguments: dict[str, str]) -> None:
    assert outcome(portal(), method, origin, **arguments) is ALICE


def test_who_another_checker_knows_by_name() -> None:
    found = outcome(portal(), "password", user="bob", password="secret")
    assert found == attrs.evolve(BOB, login=Login("password", "password"))


def test_a_login_that_is_known_already_is_kept() -> None:
    known = attrs.evolve(BOB, login=Login("password", "password from the directory"))
    checker = InMemoryUsernamePasswordDatabaseDontUse(bob=b"secret")
    given = make_portal([checker], by_name={"bob": known}.get)
    assert outcome(given, "password", user="bob", password="secret") is known


@pytest.mark.parametrize(
    ("method", "origin", "arguments", "why"),
    [
        ("token", TCP, {"token": "bobs"}, "the token is not valid here"),
        ("token", TCP, {"token": ""}, "the token is not valid here"),
        ("uid", Origin(uid=1001), {}, "nobody is known here by this account (1001)"),
        ("uid", TCP, {}, "only a connection by a Unix socket shows the account"),
        ("uid", Origin(), {}, "only a connection by a Unix socket shows the account"),
        ("certificate", TCP, {}, "no certificate was shown on this connection"),
        (
            "certificate",
            attrs.evolve(TLS, certificate=attrs.evolve(CERTIFICATE, pin="sha256:others")),
            {},
            "nobody is known here by this certificate (sha256:others)",
        ),
        # Not known, known with another password, known to the checker but not to us: all the same.
        ("password", TCP, {"user": "x", "password": "secret"}, "the user name or the password is"),
        ("password", TCP, {"user": "bob", "password": "x"}, "the user name or the password is"),
        ("password", TCP, {"user": "carol", "password": "secret"}, "the user name or the passw"),
        ("magic", TCP, {}, "there is no login by 'magic' here"),
    ],
)
def test_who_is_not_let_in(method: str, origin: Origin, arguments: Any, why: str) -> None:
    error = outcome(portal(), method, origin, **arguments)
    assert type(error) is AuthenticationFailed
    assert str(error).startswith(why)
    assert error.__cause__ is None


def test_what_a_token_checker_has_to_say() -> None:
    clock = Clock()
    given = make_portal([TokenChecker(by_token, clock)])
    assert outcome(given, "token", token="old") is ALICE
    clock.advance(100)
    error = outcome(given, "token", token="old")
    assert isinstance(error, AuthenticationFailed)
    assert str(error) == "the token has expired"


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("token", {}),
        ("token", {"token": None}),
        ("token", {"token": ["alices"]}),
        ("token", {"token": "alices", "user": "bob"}),
        ("uid", {"uid": 1000}),
        ("certificate", {"pin": CERTIFICATE.pin}),
        ("password", {"user": "bob"}),
        ("password", {"user": "bob", "password": None}),
        ("password", {"user": "bob\0", "password": "secret"}),
        ("password", {"user": "bob", "password": "secret\0"}),
        ("password", {"user": "bob", "password": "secret", "token": "alices"}),
    ],
)
def test_incomplete_credentials(method: str, arguments: Any) -> None:
    error = outcome(portal(), method, attrs.evolve(TLS, uid=1000), **arguments)
    assert isinstance(error, InvalidArgument)
    assert re.match(rf"a login by {method} takes|there is a zero byte", str(error))
    assert "secret" not in str(error)
    assert "alices" not in str(error)


# Checkers of others


@implementer(ICredentialsChecker)
@attrs.frozen
class Scripted:
    """A checker that gives what a test wants."""

    answer: Callable[[], Any]
    credentialInterfaces: tuple[type[Interface], ...] = (IUsernamePassword,)

    def requestAvatarId(self, credentials: Any) -> Any:
        return self.answer()


def answered(answer: Callable[[], Any]) -> Any:
    given = make_portal([Scripted(answer)], by_name={"bob": BOB}.get)
    return outcome(given, "password", user="bob", password="secret")


@pytest.mark.parametrize("name", ["bob", b"bob", succeed("bob"), succeed(b"bob")])
def test_any_kind_of_name(name: Any) -> None:
    assert answered(lambda: name).name == "bob"


@pytest.mark.parametrize("name", ["", "carol", b"\xff", (), None, 7, succeed(())])
def test_a_name_that_is_nobodys(name: Any) -> None:
    assert str(answered(lambda: name)) == "the user name or the password is not right"


def test_a_checker_that_fails_later() -> None:
    error = answered(lambda: fail(UnauthorizedLogin("bob has forgotten it again")))
    assert str(error) == "the user name or the password is not right"


def test_a_checker_that_breaks() -> None:
    assert isinstance(answered(lambda: [][0]), IndexError)


def test_a_checker_of_tokens_that_gives_names() -> None:
    given = make_portal([Scripted(lambda: "bob", (IToken,))], by_name={"bob": BOB}.get)
    found = outcome(given, "token", token="alices")
    assert found.login == Login("token", "token:ac463ac5")


def test_a_file_of_passwords(tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    path.write_text("bob:secret\ncarol:x\n", "utf-8")
    given = make_portal([FilePasswordDB(str(path))], by_name={"bob": BOB}.get)
    assert outcome(given, "password", user="bob", password="secret").name == "bob"
    for user, password in [("bob", "x"), ("carol", "x"), ("", ""), ("dora", "x")]:
        error = outcome(given, "password", user=user, password=password)
        assert str(error) == "the user name or the password is not right"


# What cred expects of ours


def test_our_parts_are_what_cred_takes_them_for() -> None:
    for checker in (TokenChecker, CertificateChecker, UidChecker):
        assert verifyClass(ICredentialsChecker, checker)
    assert verifyObject(IIdentity, ALICE)


def test_a_realm_gives_identities_only() -> None:
    realm = IdentityRealm(lambda name: None)
    with pytest.raises(NotImplementedError):
        realm.requestAvatar("bob", None, IToken)
    kind, avatar, log_out = realm.requestAvatar(ALICE, None, IToken, IIdentity)
    assert (kind, avatar) == (IIdentity, ALICE)
    log_out()


def test_a_token_does_not_show() -> None:
    assert "secret" not in repr(Token("secret"))


# The identities of a daemon


def test_the_identities_of_a_store(tmp_path: Path) -> None:
    path = tmp_path / "identities.toml"
    path.touch(0o600)
    path.write_text(
        f"""
        [alice]
        tokens = [{{ sha256 = "{hash_token("alices")}", expires = 1970-01-01T00:01:40Z }}]
        certificates = ["{PIN}"]
        [bob]
        uids = [1000]
        password = true
        [carol]
        echo = true
        """
    )
    clock = Clock()
    store = IdentityStore(path, owner=owner_entry("owners", uid=0))
    passwords = InMemoryUsernamePasswordDatabaseDontUse(bob=b"x", carol=b"x", owner=b"x")
    authenticator = identity_authenticator(store, clock, checkers=[passwords])

    def who(method: str, origin: Origin = TCP, **arguments: str) -> Any:
        return answer_of(authenticator, method, origin, arguments)

    assert who("token", token="owners").name == "owner"
    assert who("uid", Origin(uid=0)).login == Login("uid", "uid:0")
    assert who("token", token="alices").name == "alice"
    assert who("certificate", Origin("::1", certificate=PeerCertificate(PIN))).name == "alice"
    assert who("uid", LOCAL).name == "bob"
    assert who("password", user="bob", password="x").login == Login("password", "password")
    for user in ("carol", "owner", "alice", "BOB ", "nobody" * 1000):
        refused = who("password", user=user, password="x")
        assert str(refused) == "the user name or the password is not right"
    clock.advance(100)
    assert "expired" in str(who("token", token="alices"))
