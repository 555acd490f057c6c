"""What somebody types into a chat."""

from __future__ import annotations

import pytest

from sockserv.cli.talking.typed import HELP, Asked, Name, NotUnderstood, parse_typed


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("hello", Asked(name=Name.SAY, text="hello")),
        ("  two\n  rows", Asked(name=Name.SAY, text="  two\n  rows")),
        ("//etc is a folder", Asked(name=Name.SAY, text="/etc is a folder")),
        ("", None),
        (" \n ", None),
        ("/who", Asked(name=Name.WHO)),
        ("/WHO Ops", Asked(name=Name.WHO, place="ops")),
        ("/join #Ops", Asked(name=Name.JOIN, place="ops")),
        ("/join  @alice ", Asked(name=Name.JOIN, place="@alice")),
        ("/leave", Asked(name=Name.LEAVE)),
        ("/msg @alice hello  you", Asked(name=Name.MSG, place="@alice", text="hello  you")),
        ("/msg alice hello", Asked(name=Name.MSG, place="@alice", text="hello")),
        ("/send a.txt @alice", Asked(name=Name.SEND, place="@alice", text="a.txt")),
        ("/send a.txt", Asked(name=Name.SEND, text="a.txt")),
        ("/send ~/a b.txt  @alice", Asked(name=Name.SEND, place="@alice", text="~/a b.txt")),
        ("/send two words.txt", Asked(name=Name.SEND, text="two words.txt")),
        ("/send it's.txt @alice", Asked(name=Name.SEND, place="@alice", text="it's.txt")),
        ("/send 'a @b.txt'", Asked(name=Name.SEND, text="a @b.txt")),
        ('/send "a  b.txt" @alice', Asked(name=Name.SEND, place="@alice", text="a  b.txt")),
        ("/send a\\ b.txt @alice", Asked(name=Name.SEND, place="@alice", text="a b.txt")),
        ("/history", Asked(name=Name.HISTORY)),
        ("/history 500", Asked(name=Name.HISTORY, count=500)),
        ("/search two words", Asked(name=Name.SEARCH, text="two words")),
        ("/away", Asked(name=Name.AWAY)),
        ("/away for lunch", Asked(name=Name.AWAY, text="for lunch")),
        ("/quit", Asked(name=Name.QUIT)),
    ],
    ids=range(26),
)
def test_what_it_means(line: str, asked: Asked | None) -> None:
    assert parse_typed(line) == asked


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/dance", "there is no /dance"),
        ("/" + "x" * 10_000, "/help"),
        ("/", "/help"),
        ("/say hello", "type what you want to say"),
        ("/join", "/join ROOM"),
        ("/join a b", "letters, digits"),
        ("/join " + "x" * 10_000, "at most 64"),
        ("/join p\u0430ypal", "look alike"),
        ("/msg", "/msg @NAME TEXT"),
        ("/msg @alice", "/msg @NAME TEXT"),
        ("/send", "/send FILE @NAME"),
        ("/send @alice", "/send FILE @NAME"),
        ("/send '' @alice", "/send FILE @NAME"),
        ("/history 0", "from 1 to 500"),
        ("/history 501", "from 1 to 500"),
        ("/history ٣", "from 1 to 500"),
        ("/history " + "9" * 10_000, "from 1 to 500"),
        ("/search ", "/search WORDS"),
    ],
    ids=range(18),
)
def test_what_means_nothing(line: str, words: str) -> None:
    with pytest.raises(NotUnderstood, match=words):
        parse_typed(line)


def test_the_help_has_every_command() -> None:
    named = {Name.SAY, Name.HELP}
    assert all(f"/{name}" in HELP for name in Name if name not in named)
