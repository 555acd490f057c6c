"""How a command looks to a person, in one line."""

from __future__ import annotations

from collections.abc import Iterable
from shlex import quote
from typing import Final

__all__ = ["MAX_SHOWN_CHARACTERS", "in_one_line"]

MAX_SHOWN_CHARACTERS: Final = 1000
"""What is longer is cut: a line for people, and for lists of many jobs."""


def in_one_line(argv: Iterable[str]) -> str:
    """The words as a shell would have them, with what cannot be seen in them escaped, and cut where it is too long."""
    words = []
    count = 0
    for word in argv:
        words.append(quote(word[: MAX_SHOWN_CHARACTERS + 1]))
        count += len(words[-1]) + 1
        if count > MAX_SHOWN_CHARACTERS + 1:
            break
    line = " ".join(words)[: MAX_SHOWN_CHARACTERS + 1]
    if not line.isprintable():
        line = "".join(
            character
            if character.isprintable()
            else character.encode("unicode_escape", "surrogatepass").decode("ascii")
            for character in line
        )
    return line if len(line) <= MAX_SHOWN_CHARACTERS else f"{line[: MAX_SHOWN_CHARACTERS - 1]}…"
