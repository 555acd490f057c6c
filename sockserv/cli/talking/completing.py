"""What could be meant by what is typed so far: commands, names and rooms."""

from __future__ import annotations

from collections.abc import Iterable

from sockserv.cli.talking.typed import Name
from sockserv.cli.talking.view import View

__all__ = ["completions"]

_PLACES = {Name.JOIN}
_ROOMS = {Name.LEAVE, Name.WHO}
_NAMES = {Name.MSG}


def completions(before: str, view: View) -> tuple[int, list[str]]:
    """How many characters before the cursor are completed, and what could stand there instead."""
    word = before[max(before.rfind(" "), before.rfind("\n")) + 1 :]
    is_first = len(word) == len(before)
    names = [f"@{name}" for name in view.names]
    if before.startswith("/") and not before.startswith("//"):
        if is_first:
            commands = [f"/{name} " for name in Name if name is not Name.SAY]
            return len(word), _beginning(word, commands)
        command, *arguments = before[1:].split(" ")
        if len(arguments) == 1:
            return len(word), _beginning(word, _arguments(command.lower(), view, names))
    if not word:
        return 0, []
    if word.startswith("@"):
        return len(word), _beginning(word, [f"{name} " for name in names])
    ending = ": " if is_first else " "
    return len(word), _beginning(word, [f"{name}{ending}" for name in view.names])


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
