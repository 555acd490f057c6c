"""The command line of `sockserv chat` and `sockserv who`."""

from __future__ import annotations

import click
import pytest

from tests.cli.fakes import FakeTerminal, work_of


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["chat"], "no terminal here"),
        (["chat", "lobby", "hello"], "needs --send"),
        (["chat", "--send"], "needs a ROOM"),
        (["chat", "--send", "--follow", "lobby"], "one of --send"),
        (["chat", "--search", "x", "--history", "3"], "one of --send"),
        (["chat", "--send-file", "x", "--send", "@bob"], "one of --send, --send-file"),
        (["chat", "--send-file", "x"], "needs @NAME"),
        (["chat", "--send-file", "x", "lobby"], "needs @NAME"),
        (["chat", "--send-file", "x", "@bob", "hello"], "needs --send"),
        (["chat", "--lines", "lobby"], "--lines is about"),
        (["chat", "--send", "--lines", "lobby", "hello"], "--lines is about"),
        (["chat", "--history", "0"], "range"),
        (["chat", "a room"], "letters, digits"),
        (["chat", "x" * 10_000], "at most 64"),
        (["chat", "@"], "not the name of a member"),
        (["chat", "@a\x1b[2Jb"], "not the name of a member"),
        (["chat", "p\u0430ypal"], "look alike"),
        (["who", "@alice"], "no room"),
    ],
    ids=range(18),
)
def test_what_makes_no_sense(arguments: list[str], words: str) -> None:
    with pytest.raises(click.UsageError, match=words):
        work_of(arguments)


def test_in_a_terminal() -> None:
    work_of(["chat"], terminal=FakeTerminal({0, 1}))
    work_of(["chat", "@alice"], terminal=FakeTerminal({0, 1}))


@pytest.mark.parametrize(
    "terminal", [FakeTerminal({0}), FakeTerminal({0, 1}, type="dumb")], ids=["pipe", "dumb"]
)
def test_without_one(terminal: FakeTerminal) -> None:
    with pytest.raises(click.UsageError, match="no terminal here"):
        work_of(["chat"], terminal=terminal)


def test_json_is_for_pipes() -> None:
    with pytest.raises(click.UsageError, match="--json"):
        work_of(["chat", "--json"], terminal=FakeTerminal({0, 1}))
