"""What somebody types into a chat: something to be said, or a command."""

from __future__ import annotations

import shlex
from enum import StrEnum
from typing import Final

import attrs

from sockserv.chat.errors import BadName
from sockserv.chat.names import parse_place

__all__ = ["HELP", "Asked", "Name", "NotUnderstood", "parse_typed"]


class Name(StrEnum):
    """The commands; `SAY` is what everything else is."""

    SAY = "say"
    WHO = "who"
    JOIN = "join"
    LEAVE = "leave"
    MSG = "msg"
    SEND = "send"
    HISTORY = "history"
    SEARCH = "search"
    ROOMS = "rooms"
    AWAY = "away"
    HELP = "help"
    QUIT = "quit"


HELP: Final = """\
/join ROOM or @NAME   talk there; what was missed is shown
/leave [ROOM]         leave it
/msg @NAME TEXT       say something to somebody, and stay here
/send FILE [@NAME]    send somebody a file, into the folder inbox that they have at the server
/who [ROOM]           who is there
/rooms                which rooms there are
/history [COUNT]      what was said here before
/search WORDS         what was said with all these words
/away [WHY]           be away; without a reason, be back
/quit                 leave, as Ctrl-D does; // says something that begins with /
Alt-Enter begins a new line, Tab completes names, rooms and commands."""

_MAX_HISTORY: Final = 500


@attrs.frozen(kw_only=True)
class Asked:
    """What was typed means this.

    `place` is the one form of its name, `text` what is to be said, or the path of a file.
    """

    name: Name
    place: str | None = None
    text: str = ""
    count: int = 50


class NotUnderstood(Exception):
    """What was typed is none of it; the message says what would be."""


def parse_typed(line: str) -> Asked | None:
    """What a line, or several that were pasted, means; None for an empty one. Raises `NotUnderstood`."""
    if not line.strip():
        return None
    if not line.startswith("/") or line.startswith("//"):
        return Asked(name=Name.SAY, text=line.removeprefix("/") if line.startswith("//") else line)
    word, _, rest = line[1:].partition(" ")
    try:
        name = Name(word.strip().lower())
    except ValueError:
        raise NotUnderstood(f"there is no /{word[:40]}: /help says what there is") from None
    rest = rest.strip()
    match name:
        case Name.SAY:
            raise NotUnderstood("there is no /say: type what you want to say")
        case Name.JOIN:
            return Asked(name=name, place=_place(rest, "/join ROOM, or /join @NAME"))
        case Name.LEAVE | Name.WHO:
            return Asked(name=name, place=_place(rest, "") if rest else None)
        case Name.MSG:
            return _message(rest)
        case Name.SEND:
            return _file(rest)
        case Name.HISTORY:
            return Asked(name=name, count=_count(rest))
        case Name.SEARCH if not rest:
            raise NotUnderstood("/search WORDS")
        case _:
            return Asked(name=name, text=rest)


def _place(text: str, usage: str) -> str:
    if not text:
        raise NotUnderstood(usage)
    try:
        return str(parse_place(text.removeprefix("#")))
    except BadName as error:
        raise NotUnderstood(error.message) from None


def _message(rest: str) -> Asked:
    to, _, text = rest.partition(" ")
    if not to or not text.strip():
        raise NotUnderstood("/msg @NAME TEXT")
    place = _place(f"@{to.removeprefix('@')}", "")
    return Asked(name=Name.MSG, place=place, text=text.strip())


def _file(rest: str) -> Asked:
    """A file, and whom it is for; in quotation marks where one could not tell else."""
    try:
        words = shlex.split(rest)
    except ValueError:
        words = []
    if not (len(words) == 1 or (len(words) == 2 and words[1].startswith("@"))):
        # As it stands there: few think of quotation marks.
        before, _, last = rest.rpartition(" ")
        words = [before.rstrip(), last] if before and last.startswith("@") else [rest]
    file, *to = words
    if not file or (file.startswith("@") and not to):
        raise NotUnderstood("/send FILE @NAME")
    return Asked(name=Name.SEND, place=_place(to[0], "") if to else None, text=file)


def _count(text: str) -> int:
    if not text:
        return 50
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= _MAX_HISTORY):
        raise NotUnderstood(f"/history COUNT, from 1 to {_MAX_HISTORY}")
    return int(text)
