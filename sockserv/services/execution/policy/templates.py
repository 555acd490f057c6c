"""Words with places for parameters: `--port={port}`. `{{` and `}}` stand for the braces themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

__all__ = ["PARAMETER_NAME", "Place", "TemplateError", "Word"]

PARAMETER_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
_PART: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")


class TemplateError(ValueError):
    """A word cannot be a template; the message says why."""


@attrs.frozen
class Place:
    """Where a parameter's value goes."""

    name: str


@attrs.frozen
class Word:
    """A word of a command line: texts and places, in their order."""

    parts: tuple[str | Place, ...]

    @classmethod
    def parse(cls, text: str) -> Word:
        """The word that a text means. Raises `TemplateError`."""
        parts: list[str | Place] = []
        for found in _PART.finditer(text):
            if found[0] in ("{", "}"):
                raise TemplateError(f"write {found[0] * 2} for {found[0]}")
            if found[1] is None:
                parts.append({"{{": "{", "}}": "}"}.get(found[0], found[0]))
            elif PARAMETER_NAME.fullmatch(found[1]):
                parts.append(Place(found[1]))
            else:
                raise TemplateError(
                    "the name of a parameter has small letters, digits and _, and begins with a letter, "
                    f"unlike {found[1]!r}; write {{{{ for {{"
                )
        return cls(tuple(parts))

    @property
    def places(self) -> tuple[str, ...]:
        """The names of its places."""
        return tuple(part.name for part in self.parts if isinstance(part, Place))

    @property
    def is_place(self) -> bool:
        """Whether it is one place, and nothing else."""
        return len(self.parts) == 1 and bool(self.places)

    @property
    def begins_with_dash(self) -> bool:
        """Whether it was written as an option."""
        return bool(self.parts) and isinstance(self.parts[0], str) and self.parts[0][:1] == "-"

    def filled(self, values: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """The words that it becomes: one, or one for each value where it is the place of a repeated parameter."""
        if self.is_place:
            return tuple(values[self.places[0]])
        return ("".join(p if isinstance(p, str) else values[p.name][0] for p in self.parts),)
