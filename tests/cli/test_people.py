"""`sockserv whoami`, `identities` and `revoke`: what a daemon says of people, shown to people and to programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from sockserv.cli.people import Given, known_by, people_in, what_they_may
from sockserv.errors import (
    CallError,
    InvalidArgument,
    PermissionDenied,
    UnexpectedResult,
    UnknownOperation,
)
from sockserv.testing import MemoryServer
from sockserv.trust import Identity
from tests.cli.fake_admin import Admin, Name
from tests.cli.fakes import FakeTerminal, Written, assert_hung_up, session_with, work_of

ALICE: dict[str, Any] = {
    "name": "alice",
    "permissions": ["echo", "files", "exec", "chat", "counter"],
    "exec": ["uptime", "/usr/bin/df"],
    "files": {"root": "reports", "access": "ro"},
    "chat": ["lobby", "*"],
}
MAY = "chat lobby, all rooms; counter; echo; exec uptime, /usr/bin/df; files reports (ro)"


@pytest.fixture
def admin() -> Admin:
    return Admin()


@pytest.fixture
def memory(admin: Admin) -> Iterator[MemoryServer]:
    with MemoryServer([admin]) as memory:
        yield memory


def shown(memory: MemoryServer, *arguments: str, **settings: Any) -> str:
    output = Written()
    _, work = work_of(arguments)
    session = session_with(memory, output=output, **settings)
    memory.run(Deferred.fromCoroutine(work(session)))
    assert_hung_up(memory)
    text: str = output.content.decode()
    return text


class TestWhoami:
    def test_for_people(self, memory: MemoryServer, admin: Admin) -> None:
        admin.whoami = ALICE | {"login": {"method": "token", "credential": "token:0123abcd"}}
        assert shown(memory, "whoami") == (f"alice at the server, by token:0123abcd\nmay: {MAY}\n")

    def test_for_programs(self, memory: MemoryServer, admin: Admin) -> None:
        login = {"method": "token", "credential": "token:0123abcd"}
        admin.whoami = ALICE | {"login": login}
        (line,) = shown(memory, "whoami", json=True).splitlines()
        assert json.loads(line) == ALICE | {"login": login}

    def test_without_a_login(self, memory: MemoryServer, admin: Admin) -> None:
        admin.whoami = {"name": "guest", "login": None}
        assert shown(memory, "whoami") == "guest at the server\nmay: nothing\n"

    def test_a_name_that_would_command_the_terminal(
        self, memory: MemoryServer, admin: Admin
    ) -> None:
        admin.whoami = {"name": "a\x1b[2J", "permissions": ["\x07"]}
        assert "\x1b" not in shown(memory, "whoami")

    def test_a_server_without_it(self) -> None:
        with MemoryServer([]) as memory, pytest.raises(UnknownOperation):
            shown(memory, "whoami")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Given(name="owner", permissions=("*",)), "everything"),
        (Given(name="a"), "nothing"),
        (Given(name="a", permissions=("exec", "admin")), "admin; exec"),
    ],
)
def test_what_they_may(given: Given, words: str) -> None:
    assert what_they_may(given) == words


class TestIdentities:
    def test_for_people(self, memory: MemoryServer, admin: Admin) -> None:
        admin.identities = [
            ALICE
            | {
                "credentials": [
                    {"name": "token:0123abcd", "expires": "2026-12-01T00:00:00Z"},
                    {"name": "uid:1000"},
                ]
            },
            {"name": "王小明", "permissions": ["echo"]},
        ]
        width = len(MAY)
        assert shown(memory, "identities").splitlines() == [
            f"NAME    {'MAY':{width}}  KNOWN BY",
            f"alice   {MAY}  token:0123abcd until 2026-12-01T00:00:00Z, uid:1000",
            "王小明  echo",
        ]

    def test_for_programs(self, memory: MemoryServer, admin: Admin) -> None:
        credentials = [{"name": "token:0123abcd", "expires": "2026-12-01T00:00:00Z"}]
        admin.identities = [ALICE | {"credentials": credentials}, {"name": "b"}]
        first, second = map(json.loads, shown(memory, "identities", json=True).splitlines())
        assert first == ALICE | {"credentials": credentials}
        assert second["name"] == "b"

    def test_nobody(self, memory: MemoryServer) -> None:
        errors = Written()
        assert shown(memory, "identities", errors=errors) == ""
        assert errors.content == b""
        shown(memory, "identities", errors=errors, terminal=FakeTerminal({2}))
        assert b"`sockserv invite NAME` adds somebody" in errors.content

    def test_only_for_admins(self, memory: MemoryServer) -> None:
        def connect() -> Any:
            return memory.start_connecting(Identity("alice"))

        with pytest.raises(PermissionDenied):
            shown(memory, "identities", connect=connect)


@pytest.mark.parametrize(
    ("expires", "words"),
    [
        ("2026-12-01T00:00:00Z", "until 2026-12-01T00:00:00Z"),
        ("2026-11-23T01:00:00+01:00", "expired 2026-11-23T00:00:00Z"),
        ("2026-11-23T00:00:01Z", "until 2026-11-23T00:00:01Z"),
        ("9999-12-31T23:59:59-01:00", "until 9999-12-31 23:59:59-01:00"),
    ],
)
def test_when_a_credential_ends(expires: str, words: str) -> None:
    now = datetime(2026, 11, 23, 1, tzinfo=timezone(timedelta(hours=1)))
    (person,) = people_in(
        b'{"name": "a", "credentials": [{"name": "token:x", "expires": "%s"}]}' % expires.encode()
    )
    assert known_by(person, now) == f"token:x {words}"


@pytest.mark.parametrize(
    "lines", [b"[]\n", b"{}\n", b"\xff\n", b'{"name": 3}\n', b"\n", b"[" * 9999]
)
def test_what_is_no_list(lines: bytes) -> None:
    with pytest.raises(UnexpectedResult):
        people_in(lines)


class TestRevoke:
    def test_it(self, memory: MemoryServer, admin: Admin) -> None:
        assert shown(memory, "revoke", "王小明") == "王小明 is revoked\n"
        assert admin.asked == [Name("王小明")]
        assert json.loads(shown(memory, "revoke", "b", json=True)) == {"revoked": "b"}

    def test_nobody_of_this_name(self, memory: MemoryServer, admin: Admin) -> None:
        admin.failure = InvalidArgument("there is no identity nobody")
        with pytest.raises(CallError, match="there is no identity nobody"):
            shown(memory, "revoke", "nobody")
