"""What nobody could run, the owner neither."""

from __future__ import annotations

from typing import Any

import pytest

from sockserv.errors import InvalidArgument
from sockserv.execution.arguments import MAX_ARGUMENTS
from tests.services.execution.policy.kit import OWNER, Asked


@pytest.mark.parametrize(
    ("argv", "more", "what"),
    [
        ((), {}, "argv: there is no program"),
        (("",), {}, "argv: there is no program"),
        (("", "x"), {}, "argv: there is no program"),
        (("ls\0",), {}, "argv[0]: has a NUL"),
        (("ls", "x\0y"), {}, "argv[1]: has a NUL"),
        (("ls", "\ud800"), {}, "argv[1]: is not text"),
        (("ls\0",), {"shell": True}, "argv[0]: has a NUL"),
        (("ls", "-l"), {"shell": True}, "argv: with shell it is one text"),
        (("ls",), {"env": {"": "x"}}, "env: the name"),
        (("ls",), {"env": {"A=B": "x"}}, "env: the name"),
        (("ls",), {"env": {"A\0": "x"}}, "env: the name"),
        (("ls",), {"env": {"A\n": "x"}}, "env: the name"),
        (("ls",), {"env": {"BASH_FUNC_ls%%": "() { :; }"}}, "env: the name"),
        (("ls",), {"env": {"Ä": "x"}}, "env: the name"),
        (("ls",), {"env": {"1A": "x"}}, "env: the name"),
        (("ls",), {"env": {"A": "x\0"}}, "env[A]: has a NUL"),
        (("ls",), {"env": {"A": "() { :;}; id"}}, "env[A]: is a function"),
        (("ls",), {"cwd": ""}, "cwd: is empty"),
        (("ls",), {"cwd": "/\0"}, "cwd: has a NUL"),
        (("ls",), {"user": "\0"}, "user: has a NUL"),
    ],
)
def test_what_cannot_be_run(argv: tuple[str, ...], more: dict[str, Any], what: str) -> None:
    for ask in (Asked(OWNER).decide, Asked(OWNER).explain):
        with pytest.raises(InvalidArgument) as caught:
            ask(*argv, **more)
        assert str(caught.value).startswith(what)


def test_the_number_of_words() -> None:
    Asked(OWNER).decide(*["x"] * MAX_ARGUMENTS)
    with pytest.raises(InvalidArgument, match="has 4097 words, and 4096 is the most"):
        Asked(OWNER).decide(*["x"] * (MAX_ARGUMENTS + 1))


def test_a_value_is_never_told() -> None:
    with pytest.raises(InvalidArgument) as caught:
        Asked(OWNER).decide("ls", env={"A": "secret\0"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("word", ["\n", "\x1b[2J", "\u202e", "…", "'\"$(id)`;", "{}", "😀"])
def test_every_other_text_is_a_word(word: str) -> None:
    assert Asked(OWNER).decide("echo", word).program.argv == ("echo", word)
