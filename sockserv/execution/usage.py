"""What somebody may run, and how each of that is used."""

from __future__ import annotations

import attrs

__all__ = ["CommandUsage", "ParameterUsage"]


@attrs.frozen(kw_only=True)
class ParameterUsage:
    """A parameter of a command: what it takes, in words, and what stands for it where it is left out."""

    name: str
    takes: str
    default: str | None = None
    description: str = ""


@attrs.frozen(kw_only=True)
class CommandUsage:
    """What a rule allows: `usage` is how it is written, `flash PORT IMAGE`.

    `rule` is the name of a command, the absolute path of a program, `any` or `shell`.
    """

    rule: str
    usage: str
    description: str = ""
    parameters: tuple[ParameterUsage, ...] = ()
