"""How lines look: for people, or as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["as_json_line", "printable"]


def printable(text: str) -> str:
    """The text as it can be shown in one line: a file's name or a peer's words must not command the terminal."""
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


def as_json_line(value: Mapping[str, Any]) -> bytes:
    """An object as one line of JSON."""
    return msgspec.json.encode(value) + b"\n"
