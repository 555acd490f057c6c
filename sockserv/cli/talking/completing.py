"""What could be meant by what is typed so far: commands, names and rooms."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice
from typing import Final

from sockserv.cli.talking.typed import Asked, Name, NotUnderstood, parse_typed
from sockserv.cli.talking.view import View

__all__ = ["completions"]

_PLACES = {Name.JOIN}
_ROOMS = {Name.LEAVE, Name.WHO}
_NAMES = {Name.MSG}

_MOST_FILES: Final = 10_000
"""Of so many in a folder some are found."""


def local_files(begun: str) -> list[str]:
    """The paths here that begin so, folders with a `/` at their end; blocks."""
    folder, slash, name = begun.rpartition("/")
    where = os.path.expanduser(folder + slash) or "."
    found: list[str] = []
    with suppress(OSError, ValueError), os.scandir(where) as entries:
        for entry in islice(entries, _MOST_FILES):
            if entry.name.startswith(name) and (name or not entry.name.startswith(".")):
                with suppress(OSError):
                    found.append(folder + slash + entry.name + ("/" if entry.is_dir() else ""))
    return sorted(found)


def completions(
    before: str, view: View, files: Callable[[str], list[str]] = local_files
) -> tuple[int, list[str]]:
    """How many characters before the cursor are completed, and what could stand there instead.

    `files` gives the paths that begin in some way.
    """
    word = before[max(before.rfind(" "), before.rfind("\n")) + 1 :]
    is_first = len(word) == len(before)
    names = [f"@{name}" for name in view.names]
    if before.startswith("/") and not before.startswith("//"):
        if is_first:
            commands = [f"/{name} " for name in Name if name is not Name.SAY]
            return len(word), _beginning(word, commands)
        command, *arguments = before[1:].split(" ")
        if command.lower() == Name.SEND:
            return _of_sending(" ".join(arguments), names, files)
        if len(arguments) == 1:
            return len(word), _beginning(word, _arguments(command.lower(), view, names))
    if not word:
        return 0, []
    if word.startswith("@"):
        return len(word), _beginning(word, [f"{name} " for name in names])
    ending = ": " if is_first else " "
    return len(word), _beginning(word, [f"{name}{ending}" for name in view.names])


def _of_sending(
    rest: str, names: list[str], files: Callable[[str], list[str]]
) -> tuple[int, list[str]]:
    """The path of a file, which may have spaces in it; behind that somebody."""
    file, _, last = rest.rpartition(" ")
    if file and last.startswith("@"):
        return len(last), _beginning(last, names)
    return len(rest), [path for path in files(rest) if _means_itself(path)]


def _means_itself(path: str) -> bool:
    """Whether a path is understood as it stands there, and harms no terminal."""
    if not path.isprintable():
        return False
    try:
        asked = parse_typed(f"/send {path} @somebody")
    except NotUnderstood:
        return False
    return asked == Asked(name=Name.SEND, place="@somebody", text=path)


def _arguments(command: str, view: View, names: list[str]) -> list[str]:
    if command in _PLACES:
        return [*view.rooms, *names]
    if command in _ROOMS:
        return [*view.rooms]
    if command in _NAMES:
        return [f"{name} " for name in names]
    return []


def _beginning(word: str, candidates: Iterable[str]) -> list[str]:
    begun = word.casefold()
    return [one for one in candidates if one.casefold().startswith(begun)]
