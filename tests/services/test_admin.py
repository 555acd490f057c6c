"""Identities over the wire: who may change them, what is told, and what becomes of those who are logged in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from sockserv.client import Client
from sockserv.errors import (
    AuthenticationFailed,
    CallError,
    ConnectionEnded,
    InvalidArgument,
    PermissionDenied,
)
from sockserv.services import Call, NoArguments, Service, operation
from sockserv.services.admin import Admin, IdentitiesUnusable, Reachable
from sockserv.testing import MemoryNetwork, MemoryServer
from sockserv.trust.audit import Record
from sockserv.trust.authentication import hash_token
from sockserv.trust.portal import identity_authenticator
from sockserv.trust.watching import IdentityWatch
from tests.test_atomic import files_of_at_most
from tests.trust.edited import OWNER_TOKEN, Edited

T = TypeVar("T")

URL = "sockserv://192.0.2.1:7700/?pin=sha256:AAAA"
PIN = "sha256:AAAA"
NEW_TOKEN = "n" * 43

GRANTS = {
    "echo": True,
    "exec": ["uptime"],
    "files": {"root": "reports", "access": "ro"},
    "chat": ["lobby"],
    "admin": True,
    "permissions": ["forever"],
}


class Forever(Service):
    """Answers nothing, and does not end by itself."""

    @operation("forever", permission="forever")
    def forever(self, call: Call[NoArguments]) -> Deferred[None]:
        return Deferred()


class Sink:
    """Keeps what an audit log is told."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def record(self, record: Record) -> None:
        self.records.append(record)

    def write(self, record: Record) -> Deferred[None]:
        self.records.append(record)
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done


class CountedThreads(MemoryNetwork):
    """Knows how many threads were busy at the same time, whoever still waited for them."""

    def __init__(self) -> None:
        super().__init__()
        self.most_threads = 0
        self._threads = 0

    def in_thread(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        def run() -> T:
            self._threads -= 1
            return function(*args)

        self._threads += 1
        self.most_threads = max(self.most_threads, self._threads)
        return super().in_thread(run)


class House:
    """A server with its identities, as the daemon joins them."""

    def __init__(self, path: Path) -> None:
        self.file = Edited(path / "identities.toml")
        self.store = self.file.open()
        self.sink = Sink()
        self.network = network = CountedThreads()
        admin = Admin(
            self.store,
            reachable=lambda: Reachable((URL,), PIN),
            on_change=self._notice,
            in_thread=network.in_thread,
        )
        self.memory = MemoryServer(
            [admin, Forever()],
            authenticator=identity_authenticator(self.store, network.clock),
            network=network,
            audit=self.sink,
        )
        self.watch = IdentityWatch(
            network.clock, self.store, self._reconsider, in_thread=network.in_thread
        )

    def _notice(self) -> None:
        self.watch.notice()

    def _reconsider(self) -> None:
        now = datetime.fromtimestamp(self.memory.clock.seconds(), UTC)
        self.memory.server.reconsider(lambda identity: self.store.current(identity, now))

    def connect(self, token: str = OWNER_TOKEN) -> Client:
        return self.memory.connect(token=token)

    def call(self, client: Client, op: str, args: Any = None) -> Any:
        return self.memory.run(client.call(op, args)).result

    def identities(self) -> list[dict[str, Any]]:
        reply = self.memory.run(self.connect().call("admin.identities"))
        return [json.loads(line) for line in reply.body.splitlines()]

    def is_in(self, client: Client) -> bool:
        """Whether a client that was logged in is so still, when everything has happened."""
        self.memory.flush()
        try:
            self.memory.run(client.ping())
        except ConnectionEnded:
            return False
        return True

    def invite(self, name: str, **grants: Any) -> str:
        token: str = self.call(self.connect(), "admin.invite", {"name": name, **grants})["token"]
        return token


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    with house.memory:
        yield house


class TestInvite:
    def test_what_it_tells(self, house: House) -> None:
        result = house.call(house.connect(), "admin.invite", {"name": "alice"})
        assert result == {"name": "alice", "token": result["token"], "urls": [URL], "pin": PIN}
        assert len(result["token"]) == 43

    def test_who_it_was_made_for_may_do_what_was_said(self, house: House) -> None:
        client = house.connect(house.invite("alice", **GRANTS))
        assert client.identity == "alice"
        who = house.call(client, "identity.whoami")
        assert who.pop("login")["method"] == "token"
        permissions = ["admin", "chat", "echo", "exec", "files", "forever"]
        given: dict[str, Any] = {field: GRANTS[field] for field in ("exec", "files", "chat")}
        given["files"] = {**given["files"], "inbox": False}
        assert who == {"name": "alice", "permissions": permissions, **given}

    def test_nothing_that_was_not_said(self, house: House) -> None:
        client = house.connect(house.invite("alice"))
        who = house.call(client, "identity.whoami")
        del who["login"]
        assert who == {
            "name": "alice",
            "permissions": [],
            "exec": [],
            "files": None,
            "chat": [],
        }

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            ({"name": "owner"}, "name: the name owner is"),
            ({"name": "a b"}, "name: a name has letters"),
            ({"name": "bob"}, "somebody whose name is bob already"),
            ({"name": "alice", "exec": ["x y"]}, r"exec\[0\]: expected any, shell"),
            (
                {"name": "alice", "files": {"root": "x", "access": "rx"}},
                "files.access: expected ro, rw or drop, not 'rx'",
            ),
            ({"name": "alice", "files": {"root": "../x", "access": "ro"}}, "files.root: expected"),
            ({"name": "alice", "permissions": ["*"]}, r"permissions\[0\]: expected"),
            ({"name": "alice", "expires_seconds": 0}, "expires_seconds: expected more than 0"),
            ({"name": "alice", "expires_seconds": 1e300}, "expires_seconds: expected more than 0"),
            ({"name": "alice", "tokens": []}, "has no argument tokens"),
            ({}, "name"),
        ],
    )
    def test_what_it_refuses(self, house: House, args: dict[str, Any], message: str) -> None:
        house.invite("bob")
        with pytest.raises(InvalidArgument, match=message):
            house.call(house.connect(), "admin.invite", args)
        assert [entry.name for entry in house.store.entries()] == ["owner", "bob"]

    def test_it_expires(self, house: House) -> None:
        house.watch.start()
        token = house.invite("alice", expires_seconds=10, **GRANTS)
        client = house.connect(token)
        call = house.memory.run(client.open("forever"))
        house.memory.advance(9)
        assert house.is_in(client)
        house.memory.advance(2)
        assert not house.is_in(client)
        with pytest.raises(PermissionDenied, match="was revoked, or has expired"):
            house.memory.run(call.result())
        with pytest.raises(AuthenticationFailed, match="the token has expired"):
            house.connect(token)
        house.watch.stop()


class TestAddToken:
    def test_both_tokens_are_good(self, house: House) -> None:
        first = house.invite("alice")
        second = house.call(house.connect(), "admin.add-token", {"name": "alice"})
        assert second["urls"] == [URL]
        assert house.connect(first).identity == house.connect(second["token"]).identity == "alice"

    def test_nobody_of_this_name(self, house: House) -> None:
        with pytest.raises(InvalidArgument, match="nobody whose name is"):
            house.call(house.connect(), "admin.add-token", {"name": "alice"})


class TestIdentities:
    def test_everybody_but_the_owner(self, house: House) -> None:
        token = house.invite("alice", echo=True, expires_seconds=60)
        house.invite("bob")
        credential = f"token:{hash_token(token)[:8]}"
        alice, bob = house.identities()
        assert alice == {
            "name": "alice",
            "permissions": ["echo"],
            "exec": [],
            "files": None,
            "chat": [],
            "credentials": [{"name": credential, "expires": "1970-01-01T00:01:00Z"}],
        }
        assert bob["name"] == "bob"

    def test_nobody(self, house: House) -> None:
        assert house.identities() == []

    def test_more_than_a_header_can_hold(self, house: House) -> None:
        house.file.write("".join(f"[user{n}]\necho = true\n" for n in range(2000)))
        house.store.refresh()
        assert len(house.identities()) == 2000

    def test_no_secret_is_in_it(self, house: House) -> None:
        token = house.invite("alice")
        told = repr(house.identities())
        assert token not in told
        assert hash_token(token) not in told


class TestRevoke:
    def test_what_they_do_ends_at_once(self, house: House) -> None:
        token = house.invite("alice", **GRANTS)
        client = house.connect(token)
        call = house.memory.run(client.open("forever"))
        house.call(house.connect(), "admin.revoke", {"name": "alice"})
        assert not house.is_in(client)
        with pytest.raises(PermissionDenied, match="was revoked"):
            house.memory.run(call.result())
        with pytest.raises(AuthenticationFailed, match="not valid here"):
            house.connect(token)

    def test_others_stay(self, house: House) -> None:
        house.invite("alice")
        bob = house.connect(house.invite("bob", **GRANTS))
        call = house.memory.run(bob.open("forever"))
        house.call(house.connect(), "admin.revoke", {"name": "alice"})
        assert house.is_in(bob)
        call.cancel()

    def test_the_caller_itself(self, house: House) -> None:
        client = house.connect(house.invite("alice", admin=True))
        house.call(client, "admin.revoke", {"name": "alice"})
        assert not house.is_in(client)

    def test_a_caller_that_gives_up_revokes_all_the_same(self, house: House) -> None:
        """The thread cannot be called back."""
        client = house.connect(house.invite("alice"))
        owner = house.connect()
        revoking = house.memory.run(owner.open("admin.revoke", {"name": "alice"}, end=True))
        revoking.cancel()
        house.memory.flush()
        assert len(house.store.entries()) == 1
        assert not house.is_in(client)


class TestWhatAnAdminHasBegun:
    """The permission is looked at when a call opens; the change is made when its turn has come."""

    CHANGES = (
        ("admin.invite", {"name": "accomplice", "admin": True}),
        ("admin.add-token", {"name": "bob"}),
        ("admin.revoke", {"name": "bob"}),
    )

    @pytest.mark.parametrize(("op", "args"), CHANGES)
    def test_comes_too_late_for_who_is_revoked_before_its_turn(
        self, house: House, op: str, args: dict[str, Any]
    ) -> None:
        house.invite("bob")
        admin, owner = house.connect(house.invite("eve", admin=True)), house.connect()
        revoking = house.memory.run(owner.open("admin.revoke", {"name": "eve"}, end=True))
        late = house.memory.run(admin.open(op, args, end=True))
        house.memory.run(revoking.result())
        with pytest.raises(PermissionDenied):
            house.memory.run(late.result())
        assert [entry.name for entry in house.store.entries()] == ["owner", "bob"]
        assert len(house.store.entries()[1].tokens) == 1

    @pytest.mark.parametrize(("op", "args"), CHANGES)
    @pytest.mark.parametrize("edit", [("admin = true", "admin = false"), ("tokens", "# tokens")])
    def test_comes_too_late_after_an_edit_that_nobody_has_noticed(
        self, house: House, op: str, args: dict[str, Any], edit: tuple[str, str]
    ) -> None:
        house.invite("bob")
        admin = house.connect(house.invite("eve", admin=True))
        head, table = house.file.path.read_text().split("[eve]")
        house.file.write(f"{head}[eve]{table.replace(*edit)}")
        with pytest.raises(PermissionDenied, match="eve may not change the identities any more"):
            house.call(admin, op, args)
        assert house.file.path.read_text() == f"{head}[eve]{table.replace(*edit)}"

    def test_goes_on_with_the_token_that_it_has_been_given_meanwhile(self, house: House) -> None:
        admin = house.connect(house.invite("eve", admin=True))
        args = {"sha256": hash_token(NEW_TOKEN)}
        replacing = house.memory.run(admin.open("identity.replace-token", args, end=True))
        inviting = house.memory.run(admin.open("admin.invite", {"name": "bob"}, end=True))
        house.memory.run(replacing.result())
        assert house.memory.run(inviting.result())["name"] == "bob"


class TestReplaceToken:
    def test_it_hides_no_edit_that_has_not_been_noticed(self, house: House) -> None:
        """Otherwise what was taken away there would be forgotten, and not be ended."""
        client = house.connect(house.invite("alice", permissions=["forever"]))
        running = house.memory.run(client.open("forever"))
        text = house.file.path.read_text()
        house.file.write(text.replace('["forever"]', "[]"))
        house.call(client, "identity.replace-token", {"sha256": hash_token(NEW_TOKEN)})
        with pytest.raises(PermissionDenied, match="'forever' was changed"):
            house.memory.run(running.result())
        assert house.is_in(client)

    def test_the_connection_goes_on_with_the_new_one(self, house: House) -> None:
        old = house.invite("alice")
        client, other = house.connect(old), house.connect(old)
        sha256 = hash_token(NEW_TOKEN)
        house.call(client, "identity.replace-token", {"sha256": sha256})
        house.memory.flush()
        login = house.call(client, "identity.whoami")["login"]
        assert login == {"method": "token", "credential": f"token:{sha256[:8]}"}
        assert not house.is_in(other)  # it may be somebody who has read the invitation on the way
        assert house.connect(NEW_TOKEN).identity == "alice"
        with pytest.raises(AuthenticationFailed):
            house.connect(old)

    def test_a_caller_that_gives_up_has_a_new_token_all_the_same(self, house: House) -> None:
        client = house.connect(house.invite("alice"))
        args = {"sha256": hash_token(NEW_TOKEN)}
        call = house.memory.run(client.open("identity.replace-token", args, end=True))
        call.cancel()
        assert house.is_in(client)
        login = house.call(client, "identity.whoami")["login"]
        assert login["credential"] == f"token:{args['sha256'][:8]}"

    def test_many_at_once_take_turns(self, house: House) -> None:
        """Whoever asks all the time does not take the threads away from others."""
        client = house.connect(house.invite("alice"))
        calls = [
            house.memory.run(
                client.open("identity.replace-token", {"sha256": hash_token(str(n))}, end=True)
            )
            for n in range(20)
        ]
        for call in calls[::2]:
            call.cancel()
        assert house.is_in(client)
        assert house.network.most_threads == 1

    def test_it_can_be_revoked_after_that(self, house: House) -> None:
        client = house.connect(house.invite("alice"))
        house.call(client, "identity.replace-token", {"sha256": hash_token(NEW_TOKEN)})
        house.call(house.connect(), "admin.revoke", {"name": "alice"})
        assert not house.is_in(client)

    def test_the_owner_has_a_file_for_that(self, house: House) -> None:
        with pytest.raises(PermissionDenied, match="no token that can be replaced"):
            house.call(house.connect(), "identity.replace-token", {"sha256": hash_token(NEW_TOKEN)})

    def test_what_is_no_hash(self, house: House) -> None:
        client = house.connect(house.invite("alice"))
        with pytest.raises(InvalidArgument, match="expected 64 hexadecimal digits"):
            house.call(client, "identity.replace-token", {"sha256": NEW_TOKEN})


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("admin.identities", None),
        ("admin.invite", {"name": "bob"}),
        ("admin.add-token", {"name": "alice"}),
        ("admin.revoke", {"name": "alice"}),
    ],
)
def test_who_is_no_admin_changes_nothing(house: House, op: str, args: Any) -> None:
    everything_else = {**GRANTS, "admin": False}
    client = house.connect(house.invite("alice", **everything_else))
    before = house.file.path.read_bytes()
    with pytest.raises(PermissionDenied, match="needs the permission 'admin'"):
        house.call(client, op, args)
    assert house.file.path.read_bytes() == before


CHANGES: list[Callable[[House, Client], Any]] = [
    lambda house, client: house.call(client, "admin.invite", {"name": "bob"}),
    lambda house, client: house.call(client, "admin.add-token", {"name": "alice"}),
    lambda house, client: house.call(client, "admin.revoke", {"name": "alice"}),
    lambda house, client: house.call(
        client, "identity.replace-token", {"sha256": hash_token(NEW_TOKEN)}
    ),
]


class TestTheFileCannotBeUsed:
    @pytest.fixture
    def admin(self, house: House) -> Client:
        return house.connect(house.invite("alice", admin=True))

    @pytest.mark.parametrize("change", CHANGES)
    def test_a_mistake_in_it_is_told(
        self, house: House, admin: Client, change: Callable[[House, Client], Any]
    ) -> None:
        house.file.write("[alice]\necko = true\n")
        with pytest.raises(IdentitiesUnusable, match="identities.toml line 2: alice.ecko: there"):
            change(house, admin)
        assert house.file.path.read_text() == "[alice]\necko = true\n"

    def test_who_is_no_admin_learns_no_more_than_that(self, house: House) -> None:
        client = house.connect(house.invite("alice"))
        house.file.write('["secret.name"]\nexec = ["/secret/../path"]\n')
        with pytest.raises(IdentitiesUnusable) as caught:
            CHANGES[-1](house, client)
        assert str(caught.value) == "the identities file cannot be used; the daemon's log says why"

    @pytest.mark.parametrize("change", CHANGES)
    def test_where_it_is_stands_in_the_log_alone(
        self, house: House, admin: Client, change: Callable[[House, Client], Any]
    ) -> None:
        with (
            capturedLogs() as events,
            files_of_at_most(100),
            pytest.raises(IdentitiesUnusable) as caught,
        ):
            change(house, admin)
        assert str(caught.value) == "the identities file cannot be used; the daemon's log says why"
        said = [formatEvent(event) or "" for event in events]
        assert any(f"{house.file.path} cannot be written: file too large" in each for each in said)


def test_the_audit_log_learns_no_secret(house: House) -> None:
    token = house.invite("alice", **GRANTS)
    client = house.connect(token)
    house.call(client, "identity.replace-token", {"sha256": hash_token(NEW_TOKEN)})
    with pytest.raises(CallError):
        house.call(client, "identity.replace-token", {"sha256": hash_token(NEW_TOKEN)[:-1]})
    house.call(client, "admin.identities")
    told = repr(house.sink.records)
    for secret in (token, hash_token(token), NEW_TOKEN, hash_token(NEW_TOKEN), OWNER_TOKEN):
        assert secret not in told
    assert f"token:{hash_token(token)[:8]}" in told
    assert f"token:{hash_token(NEW_TOKEN)[:8]}" in told
