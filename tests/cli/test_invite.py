"""`sockserv invite`: what is asked of the daemon, the one line, and what is said beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import click
import pytest
from twisted.internet.defer import Deferred

from sockserv.cli.stdio import StreamError
from sockserv.client.profiles import Profile, Profiles
from sockserv.errors import ConnectError, InvalidArgument, ProfileError, UnexpectedResult
from sockserv.execution.outcome import Explanation
from sockserv.services import Call, Service, operation
from sockserv.testing import MemoryServer
from sockserv.urls import ServerUrl
from tests.cli.fake_admin import PIN, TOKEN, Admin, AnotherLine
from tests.cli.fakes import FakeTerminal, Written, assert_hung_up, invoke, session_with, work_of

LINE = f"sockserv://192.0.2.1:7700/?pin={PIN}&token={TOKEN}\n"


@pytest.fixture
def admin() -> Admin:
    return Admin()


@pytest.fixture
def memory(admin: Admin) -> Iterator[MemoryServer]:
    with MemoryServer([admin]) as memory:
        yield memory


@attrs.frozen
class Question:
    argv: tuple[str, ...]
    identity: str


class Explaining(Service):
    """Has the command `backup`, and nothing else."""

    @operation("exec.explain", args=Question, permission="exec")
    def explain(self, call: Call[Question]) -> Explanation:
        (name,) = call.args.argv
        if name == "backup":
            return Explanation(allowed=False, rule=name, why="too few values")
        why = f"{call.args.identity} may run {name}, but there is none"
        warnings = ("shell is everything.",)
        is_allowed = name in ("/bin/x", "shell")
        rule = name if is_allowed else "none"
        return Explanation(allowed=is_allowed, rule=rule, why=why, warnings=warnings)


class Shown:
    """What a command has written."""

    def __init__(self, memory: MemoryServer, *arguments: str, **settings: Any) -> None:
        self.output = settings.pop("output", None) or Written()
        self._errors = Written()
        session = session_with(memory, output=self.output, errors=self._errors, **settings)
        _, work = work_of(["invite", *arguments])
        memory.run(Deferred.fromCoroutine(work(session)))

    @property
    def line(self) -> str:
        text: str = self.output.content.decode()
        return text

    @property
    def remarks(self) -> str:
        return self._errors.content.decode()


def test_one_line_and_nothing_else(memory: MemoryServer) -> None:
    shown = Shown(memory, "alice")
    assert (shown.line, shown.remarks) == (LINE, "")
    assert_hung_up(memory)


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ([], {}),
        (["--no-echo"], {"echo": False}),
        (["--files", "ro:reports"], {"files": {"root": "reports", "access": "ro"}}),
        (["--files", "drop:a:b 中"], {"files": {"root": "a:b 中", "access": "drop"}}),
        (["--exec", "uptime", "--exec", "/usr/bin/df"], {"exec": ("uptime", "/usr/bin/df")}),
        (["--chat", "lobby", "--chat", "*"], {"chat": ("lobby", "*")}),
        (["--admin"], {"admin": True}),
        (["--permission", "counter"], {"permissions": ("counter",)}),
        (["--expires", "30m"], {"expires_seconds": 1800}),
        (["--expires", "12h"], {"expires_seconds": 43_200}),
        (["--expires", "7d"], {"expires_seconds": 604_800}),
        (["--expires", "2w"], {"expires_seconds": 1_209_600}),
        (["--expires", "never"], {}),
    ],
)
def test_what_the_daemon_is_asked(
    memory: MemoryServer, admin: Admin, arguments: list[str], asked: dict[str, Any]
) -> None:
    Shown(memory, "alice", *arguments)
    nothing: dict[str, Any] = {"exec": (), "files": None, "chat": (), "admin": False}
    nothing |= {"echo": True, "permissions": (), "expires_seconds": None, "name": "alice"}
    (arguments_of_the_call,) = admin.asked
    assert {name: getattr(arguments_of_the_call, name) for name in nothing} == nothing | asked


def test_rules_to_think_about(admin: Admin) -> None:
    """No command stands for one of them yet, and others amount to everything."""
    arguments = [f"--exec={rule}" for rule in ("backup", "bakup", "/bin/x", "shell")]
    with MemoryServer([admin, Explaining()]) as memory:
        shown = Shown(memory, *arguments, "alice")
        doubts = "alice may run bakup, but there is none.\nwarning: shell is everything.\n"
        assert (shown.line, shown.remarks) == (LINE, doubts)
        assert Shown(memory, *arguments, "alice", json=True).remarks == ""


def test_a_name_that_is_taken(memory: MemoryServer, admin: Admin) -> None:
    admin.failure = InvalidArgument("there is somebody already", details={"taken": "alice"})
    with pytest.raises(InvalidArgument, match="already; `sockserv invite --again alice` makes"):
        Shown(memory, "alice")


def test_another_line_for_somebody_who_is_there(memory: MemoryServer, admin: Admin) -> None:
    assert Shown(memory, "alice", "--again", "--expires", "1h").line == LINE
    assert admin.asked == [AnotherLine("alice", 3600)]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--again", "--no-echo"],
        ["--again", "--files", "ro:reports"],
        ["--again", "--exec", "uptime"],
        ["--again", "--admin"],
        ["--files", "reports"],
        ["--files", "rx:reports"],
        ["--files", "ro:"],
        ["--expires", "7"],
        ["--expires", "0d"],
        ["--expires", "-1d"],
        ["--expires", "1.5h"],
        ["--expires", "9999999999w"],
        ["--expires", "tomorrow"],
        ["--host", "a b"],
        ["--host", ""],
        ["--host", "fd00::1"],
        ["--host", "a/b"],
        ["--host", "a?token=x"],
        ["--host", "a/"],
        ["--host", "a:0"],
        ["--host", "a:99999"],
    ],
    ids=" ".join,
)
def test_a_mistake_is_found_before_anybody_is_invited(arguments: list[str]) -> None:
    result = invoke(["invite", "alice", *arguments])
    assert isinstance(result.exception, click.UsageError)


def test_for_programs(memory: MemoryServer) -> None:
    shown = Shown(memory, "alice", json=True, terminal=FakeTerminal({0, 1, 2}))
    assert json.loads(shown.line) == {"name": "alice", "url": LINE.strip(), "is_local": False}
    assert shown.remarks == ""


class TestWhichUrl:
    def url(self, memory: MemoryServer, *arguments: str, **settings: Any) -> str:
        return str(ServerUrl.parse(Shown(memory, "alice", *arguments, **settings).line.strip()))

    def test_what_others_can_reach_comes_first(self, memory: MemoryServer, admin: Admin) -> None:
        here, elsewhere = f"sockserv://[::1]:1/?pin={PIN}", f"sockserv://lab:2/?pin={PIN}"
        admin.urls = ["unix:///s", "tcp://127.0.0.1:3", here, elsewhere]
        assert self.url(memory) == elsewhere
        admin.urls.pop()
        assert self.url(memory) == here
        admin.urls.pop()
        assert self.url(memory) == "unix:///s"

    @pytest.mark.parametrize(
        ("host", "address"),
        [
            ("lab.example.org", "lab.example.org:7700"),
            ("lab.example.org:443", "lab.example.org:443"),
            ("[fd00::1]", "[fd00::1]:7700"),
            ("[fd00::1]:443", "[fd00::1]:443"),
        ],
    )
    def test_a_host_that_was_named(self, memory: MemoryServer, host: str, address: str) -> None:
        assert self.url(memory, "--host", host) == f"sockserv://{address}/?pin={PIN}"

    def test_without_a_pin(self, memory: MemoryServer) -> None:
        assert self.url(memory, "--no-pin") == "sockserv://192.0.2.1:7700"

    def test_the_one_by_which_we_reach_it_ourselves(
        self, memory: MemoryServer, tmp_path: Path
    ) -> None:
        ours = f"sockserv://lab.example.org:7711/?pin={PIN}"
        assert self.url(memory, server=ours) == ours
        profiles = Profiles(tmp_path)
        profiles.save(Profile(name="lab1", url=ServerUrl.parse(f"{ours}&token=x")))
        assert self.url(memory, server="lab1", profiles=profiles) == ours
        assert self.url(memory, "--host", "h:1", server=ours) == f"sockserv://h:1/?pin={PIN}"

    @pytest.mark.parametrize("server", ["tcp://127.0.0.1:1", "unix:///s", "sockserv://localhost"])
    def test_but_not_when_others_cannot(self, memory: MemoryServer, server: str) -> None:
        assert self.url(memory, server=server) == f"sockserv://192.0.2.1:7700/?pin={PIN}"

    def test_nobody_is_invited_by_a_name_that_is_none(
        self, memory: MemoryServer, admin: Admin, tmp_path: Path
    ) -> None:
        with pytest.raises(ProfileError):
            Shown(memory, "alice", server="lab9", profiles=Profiles(tmp_path))
        with pytest.raises(ConnectError):
            Shown(memory, "alice", server="http://a")
        assert not admin.asked


class TestRemarks:
    def test_on_a_terminal(self, memory: MemoryServer) -> None:
        shown = Shown(memory, "alice", terminal=FakeTerminal({0, 1, 2}))
        assert shown.line == LINE
        *code, advice = shown.remarks.splitlines()
        assert len(code) > 20
        assert {len(line) for line in code} == {len(code[0])}
        assert "alice types `sockserv login`" in advice

    @pytest.mark.parametrize(
        ("option", "streams", "is_shown"),
        [
            ([], {2}, False),
            (["--qr"], {2}, True),
            (["--qr"], {1, 2}, True),
            (["--no-qr"], {1, 2}, False),
            (["--qr"], {1}, False),
        ],
    )
    def test_the_code_is_for_the_screen(
        self, memory: MemoryServer, option: list[str], streams: set[int], is_shown: bool
    ) -> None:
        shown = Shown(memory, "alice", *option, terminal=FakeTerminal(streams))
        assert ("█" in shown.remarks) == is_shown
        assert shown.line == LINE

    @pytest.mark.parametrize("url", ["tcp://127.0.0.1:7700", "unix:///run/s", "sockserv://[::1]:1"])
    def test_a_daemon_on_this_machine_only(
        self, memory: MemoryServer, admin: Admin, url: str
    ) -> None:
        admin.urls = [url]
        shown = Shown(memory, "alice")
        assert ServerUrl.parse(shown.line.strip()).token == TOKEN
        assert f"for this machine only: the daemon listens on {url}" in shown.remarks
        assert "--listen 0.0.0.0:7700" in shown.remarks

    def test_a_host_for_a_daemon_without_tls(self, memory: MemoryServer, admin: Admin) -> None:
        admin.urls = ["unix:///run/s"]
        shown = Shown(memory, "alice", "--host", "lab.example.org")
        assert "the daemon listens on unix:///run/s" in shown.remarks

    def test_a_host_that_is_this_machine(self, memory: MemoryServer) -> None:
        shown = Shown(memory, "alice", "--host", "127.0.0.1")
        assert (
            "This is for this machine only: from elsewhere, sockserv://127.0.0.1" in shown.remarks
        )
        assert "listens on" not in shown.remarks
        assert TOKEN not in shown.remarks

    def test_what_the_daemon_says_commands_no_terminal(
        self, memory: MemoryServer, admin: Admin
    ) -> None:
        admin.urls = ["unix:///a%1b[2J"]
        shown = Shown(memory, "al\x1b[2Jice", terminal=FakeTerminal({1, 2}))
        assert "\x1b" not in shown.line + shown.remarks

    def test_a_standard_error_that_cannot_be_written_to(self, memory: MemoryServer) -> None:
        session = session_with(
            memory,
            terminal=FakeTerminal({1, 2}),
            errors=Written(StreamError("it is closed")),
        )
        _, work = work_of(["invite", "alice"])
        memory.run(Deferred.fromCoroutine(work(session)))


def test_nobody_has_seen_the_line(memory: MemoryServer) -> None:
    with pytest.raises(StreamError) as caught:
        Shown(memory, "alice", output=Written(StreamError("cannot write to standard output: full")))
    assert str(caught.value).startswith("cannot write to standard output: full: alice is invited")
    assert "`sockserv invite --again alice`" in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_the_daemon_tells_no_url(memory: MemoryServer, admin: Admin) -> None:
    admin.urls = []
    with pytest.raises(UnexpectedResult, match="does not tell where it can be reached"):
        Shown(memory, "alice")


def test_the_daemon_refuses(memory: MemoryServer, admin: Admin) -> None:
    admin.failure = InvalidArgument("no")
    with pytest.raises(InvalidArgument):
        Shown(memory, "alice")
    assert_hung_up(memory)
