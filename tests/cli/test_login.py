"""`sockserv login`: where the line comes from, what becomes of it, and what is said when it is no good."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from twisted.internet.defer import Deferred

from sockserv.cli.complaints import complaint_about
from sockserv.cli.exits import EndedBySignal
from sockserv.client.profiles import Profiles
from sockserv.errors import AuthenticationFailed, ConnectionEnded, ProfileError, Unavailable
from sockserv.testing import OWNER, Link, MemoryServer
from sockserv.trust import Anonymous
from tests.cli.fakes import (
    FakeTerminal,
    Pieces,
    Written,
    assert_hung_up,
    invoke,
    session_with,
    work_of,
)
from tests.client.test_stored_login import INVITED, Tokens

ADDRESS = "tcp://127.0.0.1:7700"
LINE = f"{ADDRESS}?token={INVITED}"


@pytest.fixture
def profiles(tmp_path: Path) -> Profiles:
    return Profiles(tmp_path / "servers")


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def memory(tokens: Tokens) -> Iterator[MemoryServer]:
    with MemoryServer([tokens], authenticator=tokens) as memory:
        yield memory


class Shown:
    """What a login has shown."""

    def __init__(
        self,
        memory: MemoryServer,
        profiles: Profiles,
        *arguments: str,
        terminal: FakeTerminal | None = None,
        **settings: Any,
    ) -> None:
        output, errors = Written(), Written()
        _, work = work_of(["login", *arguments], terminal=terminal)
        session = session_with(
            memory, profiles=profiles, terminal=terminal, output=output, errors=errors, **settings
        )
        memory.run(Deferred.fromCoroutine(work(session)), max_seconds=20.0)
        self.output = output.content.decode()
        self.remarks = errors.content.decode()


class TestTheLine:
    def test_as_an_argument(self, memory: MemoryServer, profiles: Profiles, tokens: Tokens) -> None:
        shown = Shown(memory, profiles, LINE)
        assert (shown.output, shown.remarks) == (f"127.0.0.1 is {ADDRESS}, as alice\n", "")
        assert tokens.asked == 1
        assert profiles.load("127.0.0.1").url.token != INVITED
        assert_hung_up(memory)

    @pytest.mark.parametrize("arguments", [[], ["-"]])
    def test_typed_at_the_terminal(
        self, memory: MemoryServer, profiles: Profiles, arguments: list[str]
    ) -> None:
        terminal = FakeTerminal({0, 2}, [LINE])
        shown = Shown(memory, profiles, *arguments, terminal=terminal)
        assert terminal.questions == ["Invitation (it is not shown): "]
        assert shown.output.endswith(", as alice\n")
        assert shown.remarks == "To use it, type: sockserv --server 127.0.0.1 ping\n"

    @pytest.mark.parametrize(
        "pieces",
        [
            [LINE.encode()],
            [f"  {LINE}  \r\n".encode()],
            [LINE.encode() + b"\n", b"more"],
            [bytes([byte]) for byte in f"{LINE}\n".encode()],
        ],
        ids=range(4),
    )
    def test_on_standard_input(
        self, memory: MemoryServer, profiles: Profiles, pieces: list[bytes]
    ) -> None:
        Shown(
            memory,
            profiles,
            "--name",
            "lab1",
            pieces=Pieces(pieces, None if b"\n" in b"".join(pieces) else b""),
        )
        assert profiles.names() == ["lab1"]

    @pytest.mark.parametrize("content", [b"", b"\n", b"  \nsecond"])
    def test_none_on_standard_input(
        self, memory: MemoryServer, profiles: Profiles, content: bytes
    ) -> None:
        with pytest.raises(click.UsageError, match="standard input has no URL"):
            Shown(memory, profiles, pieces=Pieces([content] if content else []))

    def test_endless_input_is_not_read_to_its_end(
        self, memory: MemoryServer, profiles: Profiles
    ) -> None:
        with pytest.raises(click.UsageError, match="is not the URL of a server"):
            Shown(memory, profiles, pieces=Pieces(iter(lambda: bytes(4096), b"")))

    @pytest.mark.parametrize("error", [EndedBySignal(2), click.UsageError("nothing was typed")])
    def test_whoever_is_asked_gives_up(self, error: Exception) -> None:
        result = invoke(["login"], terminal=FakeTerminal({0}, [error]))
        assert result.exception is error

    @pytest.mark.parametrize(
        "line",
        [
            "lab1",
            "http://a",
            "sockserv://",
            f"sockserv://a/?token={INVITED}&x=1",
            "\x1b[2J",
            "中文 a",
        ],
    )
    def test_what_is_none(self, memory: MemoryServer, profiles: Profiles, line: str) -> None:
        with pytest.raises(click.UsageError, match="is not the URL of a server") as caught:
            Shown(memory, profiles, line)
        assert complaint_about(caught.value).status == 2
        assert INVITED not in str(caught.value)
        assert profiles.names() == []

    def test_a_token_from_a_file(
        self, memory: MemoryServer, profiles: Profiles, tmp_path: Path
    ) -> None:
        (tmp_path / "token").write_text(INVITED)
        Shown(memory, profiles, ADDRESS, token_file=str(tmp_path / "token"))
        assert profiles.load("127.0.0.1").url.token


class TestOtherWays:
    def test_a_password(self, memory: MemoryServer, profiles: Profiles, tokens: Tokens) -> None:
        terminal = FakeTerminal({0}, [INVITED])
        shown = Shown(memory, profiles, ADDRESS, "--user", "al", terminal=terminal)
        assert terminal.questions == ["Password of al: "]
        assert shown.output.endswith(", as alice\n")
        profile = profiles.load("127.0.0.1")
        assert (profile.user, profile.url.token, tokens.asked) == ("al", None, 0)
        assert INVITED not in (profiles.path / "127.0.0.1.toml").read_text()

    def test_a_wrong_password(self, memory: MemoryServer, profiles: Profiles) -> None:
        terminal = FakeTerminal({0}, ["wrong"])
        with pytest.raises(AuthenticationFailed, match="not valid here$"):
            Shown(memory, profiles, ADDRESS, "--user", "al", terminal=terminal)
        assert profiles.names() == []

    def test_a_token_and_a_password(self, memory: MemoryServer, profiles: Profiles) -> None:
        terminal = FakeTerminal({0}, ["secret"])
        with pytest.raises(click.UsageError, match="who has a token needs no --user"):
            Shown(memory, profiles, LINE, "--user", "al", terminal=terminal)

    def test_files_are_kept_by_their_whole_paths(
        self,
        memory: MemoryServer,
        profiles: Profiles,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        arguments = []
        for option in ("ca", "certificate", "key"):
            (tmp_path / f"{option}.pem").touch()
            arguments += [f"--{option}", f"{option}.pem"]
        Shown(memory, profiles, LINE, *arguments)
        profile = profiles.load("127.0.0.1")
        assert profile.ca == str(tmp_path / "ca.pem")
        assert profile.certificate == str(tmp_path / "certificate.pem")
        assert profile.key == str(tmp_path / "key.pem")

    @pytest.mark.parametrize("option", ["--ca", "--certificate", "--key"])
    def test_files_that_are_not_there(self, option: str) -> None:
        result = invoke(["login", LINE, option, "/nowhere/file"])
        assert isinstance(result.exception, click.UsageError)

    def test_a_key_alone(self, tmp_path: Path) -> None:
        (tmp_path / "key").touch()
        result = invoke(["login", LINE, "--key", str(tmp_path / "key")])
        assert "belongs to a --certificate" in str(result.exception)


class TestTheName:
    def test_one_that_was_chosen(self, memory: MemoryServer, profiles: Profiles) -> None:
        shown = Shown(memory, profiles, LINE, "--name", "实验室", json=True)
        assert json.loads(shown.output) == {"name": "实验室", "url": ADDRESS, "identity": "alice"}
        assert profiles.names() == ["实验室"]

    @pytest.mark.parametrize("name", ["a b", "", "../a", "a/b", "tcp://a"])
    def test_what_is_none_is_found_before_anything_is_asked(self, name: str) -> None:
        result = invoke(["login", "--name", name], terminal=FakeTerminal({0}))
        assert isinstance(result.exception, click.UsageError)
        assert "is not a name for a server" in str(result.exception)

    def test_a_socket_has_no_usual_one(self, memory: MemoryServer, profiles: Profiles) -> None:
        with pytest.raises(click.UsageError, match="say with --name what to call unix:///s"):
            Shown(memory, profiles, f"unix:///s?token={INVITED}")

    def test_one_that_another_server_has(self, memory: MemoryServer, profiles: Profiles) -> None:
        Shown(memory, profiles, LINE, "--name", "lab1")
        with pytest.raises(ProfileError, match="lab1 is the name of alice at tcp://127.0.0.1:7700"):
            Shown(memory, profiles, "tcp://127.0.0.1:1?token=x", "--name", "lab1")


class TestRefusals:
    def test_a_token_that_is_used_up(self, memory: MemoryServer, profiles: Profiles) -> None:
        Shown(memory, profiles, LINE)
        with pytest.raises(AuthenticationFailed, match="an invitation is good for one login") as e:
            Shown(memory, profiles, LINE, "--name", "again")
        assert INVITED not in str(e.value)
        assert profiles.names() == ["127.0.0.1"]

    def test_the_shell_has_taken_the_rest_of_the_line(
        self, memory: MemoryServer, profiles: Profiles
    ) -> None:
        with pytest.raises(AuthenticationFailed, match="put it into quotes"):
            Shown(memory, profiles, ADDRESS)

    def test_an_account_that_nobody_knows(self, memory: MemoryServer, profiles: Profiles) -> None:
        with pytest.raises(AuthenticationFailed, match="not valid here$"):
            Shown(memory, profiles, "unix:///s", "--name", "lab1")

    def test_a_server_that_cannot_replace_the_token_now(
        self, memory: MemoryServer, profiles: Profiles, tokens: Tokens
    ) -> None:
        def refuse() -> None:
            raise Unavailable("its disk is full")

        tokens.before = refuse
        shown = Shown(memory, profiles, LINE)
        assert shown.output.endswith(", as alice\n")
        assert "The token is still that of the invitation (its disk is full)" in shown.remarks


def test_the_connection_ends_before_anybody_knows(
    memory: MemoryServer, profiles: Profiles, tokens: Tokens
) -> None:
    link = Link()
    tokens.after = link.cut
    with pytest.raises(ConnectionEnded, match="`sockserv --server 127.0.0.1 whoami` shows"):
        Shown(memory, profiles, LINE, link=link)
    assert profiles.load("127.0.0.1").next_token is not None


def test_a_server_that_needs_no_login(profiles: Profiles) -> None:
    with MemoryServer([], authenticator=Anonymous(OWNER)) as memory:
        assert (
            Shown(memory, profiles, ADDRESS).output == f"127.0.0.1 is {ADDRESS}, without a name\n"
        )
