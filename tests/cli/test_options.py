"""The options of all commands: where they may stand, and what they come to."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from sockserv.cli.options import Options
from tests.cli.fakes import invoke, work_of


def options_of(*arguments: str, environ: dict[str, str] | None = None) -> Options:
    found: list[Options] = []
    result = invoke(arguments, run=lambda options, work: found.append(options), environ=environ)
    assert result.exception is None
    return found[0]


def test_without_any() -> None:
    assert options_of("ping") == Options()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--server", "tcp://a:1", "--timeout", "2", "--json", "--state", "s p", "ping"),
        ("ping", "--server", "tcp://a:1", "--timeout", "2", "--json", "--state", "s p"),
        (
            "--server=tcp://b:1",
            "--json",
            "ping",
            "--server=tcp://a:1",
            "--timeout=2",
            "--state=s p",
        ),
    ],
)
def test_they_stand_before_the_command_or_after_it(arguments: tuple[str, ...]) -> None:
    expected = Options(server="tcp://a:1", state="s p", timeout=2.0, json=True)
    assert options_of(*arguments) == expected


ENVIRONMENT = {
    "SOCKSERV_SERVER": "tcp://e:1",
    "SOCKSERV_STATE": "/e",
    "SOCKSERV_TOKEN_FILE": "/t",
}


def test_the_environment() -> None:
    expected = Options(server="tcp://e:1", state="/e", token_file="/t")
    assert options_of("ping", environ=ENVIRONMENT) == expected


@pytest.mark.parametrize(
    "arguments", [("--server", "tcp://a:1", "ping"), ("ping", "--server", "tcp://a:1")]
)
def test_the_command_line_counts_more_than_the_environment(arguments: tuple[str, ...]) -> None:
    assert options_of(*arguments, environ=ENVIRONMENT).server == "tcp://a:1"


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e7", "soon", ""])
def test_what_is_no_time(seconds: str) -> None:
    result = invoke(["ping", "--timeout", seconds])
    assert isinstance(result.exception, click.BadParameter)
    assert "is not a number of seconds from 0.001 to 1000000" in str(result.exception)


def test_a_pause_may_be_nothing() -> None:
    work_of(["ping", "--interval", "0"])


class TestToken:
    def test_none_was_named(self) -> None:
        assert Options().token() is None

    @pytest.mark.parametrize("content", [b"secret", b"secret\n", b"  secret \r\n"])
    def test_it_is_what_the_file_holds(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "to ken"
        path.write_bytes(content)
        assert Options(token_file=str(path)).token() == "secret"

    @pytest.mark.parametrize(
        "content", [b"", b"\n", b"two words", b"\xff\xfe", "größe".encode(), b"x" * 1025]
    )
    def test_what_is_none(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "token"
        path.write_bytes(content)
        with pytest.raises(click.UsageError, match=f"the token file {path} does not hold"):
            Options(token_file=str(path)).token()

    def test_the_longest(self, tmp_path: Path) -> None:
        path = tmp_path / "token"
        path.write_bytes(b"x" * 1024)
        assert Options(token_file=str(path)).token() == "x" * 1024

    def test_there_is_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(click.UsageError, match="cannot be read: no such file or directory"):
            Options(token_file=str(tmp_path / "none")).token()
